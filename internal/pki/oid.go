package pki

// The object identifiers of extensions and attributes that are read or written by hand.
const (
	oidCommonName       = "2.5.4.3"
	oidKeyUsage         = "2.5.29.15"
	oidBasicConstraints = "2.5.29.19"
	oidNameConstraints  = "2.5.29.30"
	oidExtKeyUsage      = "2.5.29.37"
	oidNoRevAvail       = "2.5.29.56"
	oidOCSPNoCheck      = "1.3.6.1.5.5.7.48.1.5"
)

// extensionName is the name of an extension in its standard, and the OID itself for others.
func extensionName(oid string) string {
	switch oid {
	case "2.5.29.14":
		return "subjectKeyIdentifier"
	case oidKeyUsage:
		return "keyUsage"
	case "2.5.29.17":
		return "subjectAltName"
	case oidBasicConstraints:
		return "basicConstraints"
	case oidNameConstraints:
		return "nameConstraints"
	case "2.5.29.31":
		return "cRLDistributionPoints"
	case "2.5.29.32":
		return "certificatePolicies"
	case "2.5.29.35":
		return "authorityKeyIdentifier"
	case oidExtKeyUsage:
		return "extKeyUsage"
	case "2.5.29.46":
		return "freshestCRL"
	case oidNoRevAvail:
		return "noRevAvail"
	case "1.3.6.1.5.5.7.1.1":
		return "authorityInfoAccess"
	case "1.3.6.1.5.5.7.1.24":
		return "tlsfeature"
	case oidOCSPNoCheck:
		return "ocsp-nocheck"
	}
	return oid
}
