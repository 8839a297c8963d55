package lint

import "github.com/zmap/zlint/v3/lint"

// privateSources are the standards that every certificate follows.
func privateSources() lint.SourceList {
	return lint.SourceList{
		lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813, lint.Community,
	}
}

// publicSources are the rules of those who keep public trust stores.
func publicSources() lint.SourceList {
	return lint.SourceList{lint.CABFBaselineRequirements, lint.MozillaRootStorePolicy, lint.AppleRootStorePolicy}
}

// waived are the lints that no certificate here is measured by.
func waived() []string {
	return []string{
		// A private hierarchy has no certificate policies.
		"e_sub_cert_cert_policy_empty",
		"e_sub_cert_certificate_policies_missing",
		"e_sub_ca_certificate_policies_missing",
		"e_invalid_ca_certificate_policies",
		// Nothing is logged to Certificate Transparency.
		"w_ct_sct_policy_count_unsatisfied",
		// RFC 5280 recommends the identifier that the Baseline Requirements advise against.
		"w_ext_subject_key_identifier_not_recommended_subscriber",
		// Authorities sign certificates and CRLs only; OCSP responses come from a delegated responder.
		"n_ca_digital_signature_not_set",
		// Subjects keep the common name that people search by.
		"w_subject_common_name_included",
		// The own lint public_key looks for close primes in as many rounds, and faster.
		"e_rsa_fermat_factorization",
	}
}

// waivedForInternalNames are the lints that a name without public existence fails.
func waivedForInternalNames() []string {
	return []string{
		"e_dnsname_not_valid_tld",
		"n_san_iana_pub_suffix_empty",
		"e_ext_san_contains_reserved_ip",
	}
}

// waivedForCommonNameOnly are the lints that a certificate without subject alternative names fails.
func waivedForCommonNameOnly() []string {
	return []string{
		"e_ext_san_missing",
		"e_subject_common_name_not_exactly_from_san",
	}
}
