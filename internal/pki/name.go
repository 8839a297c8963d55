package pki

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxNames is how many subject alternative names one certificate is issued for.
const MaxNames = 100

const (
	maxName      = 2048 // octets of any one name
	maxDNSName   = 253  // RFC 1035 §2.3.4, without the length octets and the root
	maxDNSLabel  = 63
	maxEmail     = 254 // RFC 5321 §4.5.3.1.3, without the angle brackets
	maxLocalPart = 64  // RFC 5321 §4.5.3.1.1
)

// Names are the subject alternative names of a certificate, each in its one canonical form and none twice.
type Names struct {
	DNS   []string     `json:"dns,omitempty"`
	Email []string     `json:"email,omitempty"`
	IP    []netip.Addr `json:"ip,omitempty"`
	URI   []string     `json:"uri,omitempty"`
}

// NameError is a name that cannot stand in a certificate, with the reason.
type NameError struct {
	Name    string
	Problem string
}

func (e NameError) Error() string { return "the name " + quote(e.Name) + " " + e.Problem }

// NamesError holds every refused name of a list.
type NamesError []NameError

func (e NamesError) Error() string {
	texts := make([]string, len(e))
	for i, one := range e {
		texts[i] = one.Error()
	}
	return strings.Join(texts, "; ")
}

// ParseNames reads names as people write them. What has a scheme:// (or begins with urn:) is a URI, what has an @ an
// e-mail address, what reads as an IP address one, and the rest are DNS names. The error is a NamesError that holds
// all of the refused ones.
func ParseNames(list []string) (Names, error) {
	if len(list) > MaxNames {
		return Names{}, fmt.Errorf("there are %d names; a certificate holds at most %d", len(list), MaxNames)
	}
	var names Names
	var refused NamesError
	for _, text := range list {
		if err := names.add(classify(text), text); err != nil {
			refused = append(refused, NameError{text, err.Error()})
		}
	}
	if refused != nil {
		return Names{}, refused
	}
	return names, nil
}

// nameType is the tag of a GeneralName (RFC 5280 §4.2.1.6).
type nameType uint8

const (
	emailName nameType = 1
	dnsName   nameType = 2
	uriName   nameType = 6
	ipName    nameType = 7
)

func classify(text string) nameType {
	if strings.Contains(text, "://") || len(text) >= 4 && strings.EqualFold(text[:4], "urn:") {
		return uriName
	}
	if strings.Contains(text, "@") {
		return emailName
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return ipName
	}
	return dnsName
}

// TypeOf is what a name that ParseNames takes is read as: "dns", "ip", "email" or "uri".
func TypeOf(name string) string {
	switch classify(name) {
	case emailName:
		return "email"
	case uriName:
		return "uri"
	case ipName:
		return "ip"
	}
	return "dns"
}

// add puts the canonical form of a name at the end, unless it is there.
func (n *Names) add(kind nameType, text string) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > maxName:
		return fmt.Errorf("has %d octets; at most %d are allowed", len(text), maxName)
	case !utf8.ValidString(text):
		return errors.New("is not valid UTF-8")
	}
	if problem := deceptive(text); problem != "" {
		return errors.New(problem)
	}
	var err error
	switch kind {
	case dnsName:
		n.DNS, err = appendName(n.DNS, text, parseDNS)
	case emailName:
		n.Email, err = appendName(n.Email, text, parseEmail)
	case ipName:
		n.IP, err = appendName(n.IP, text, parseIP)
	case uriName:
		if n.URI, err = appendName(n.URI, text, parseURI); err == nil {
			err = checkSPIFFEAlone(n.URI)
		}
	}
	return err
}

func appendName[T comparable](list []T, text string, parse func(string) (T, error)) ([]T, error) {
	name, err := parse(text)
	if err != nil || slices.Contains(list, name) {
		return list, err
	}
	return append(list, name), nil
}

// All lists every name as text, which ParseNames reads back to the same Names.
func (n Names) All() []string {
	all := slices.Clone(n.DNS)
	for _, ip := range n.IP {
		all = append(all, ip.String())
	}
	return slices.Concat(all, n.Email, n.URI)
}

// Len is the number of names.
func (n Names) Len() int { return len(n.DNS) + len(n.Email) + len(n.IP) + len(n.URI) }

// Within lists the names that are not among the allowed ones. Names are compared as they stand: a wildcard does not
// allow what it would match.
func (n Names) Within(allowed Names) []string {
	have := make(map[string]bool, allowed.Len())
	for _, name := range allowed.All() {
		have[name] = true
	}
	return slices.DeleteFunc(n.All(), func(name string) bool { return have[name] })
}

// parseDNS reads a host name in letters, digits and hyphens, lower-cased and without a trailing dot, or a wildcard
// over one (RFC 5280 §4.2.1.6, RFC 9525 §6.3).
func parseDNS(text string) (string, error) {
	if foreign := strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }); foreign {
		if ascii, err := idna.Lookup.ToASCII(text); err == nil {
			return "", errors.New("is not ASCII: write it as " + ascii)
		}
		return "", errors.New("is not ASCII")
	}
	name := strings.ToLower(strings.TrimSuffix(text, "."))
	if len(name) > maxDNSName {
		return "", fmt.Errorf("has %d octets; a DNS name has at most %d", len(name), maxDNSName)
	}
	host, wildcard := strings.CutPrefix(name, "*.")
	labels := strings.Split(host, ".")
	if wildcard && len(labels) < 2 {
		return "", errors.New("is a wildcard over a whole top-level domain: at least two labels must follow the *")
	}
	for _, label := range labels {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" {
		return "", errors.New("ends in a number, but is not an IP address")
	}
	if !strings.HasPrefix(last, "xn--") {
		for _, label := range labels {
			if unicodeLabel, err := idna.Punycode.ToUnicode(label); err == nil && looksLatin(unicodeLabel) {
				return "", errors.New("has a label of foreign letters that reads as Latin (" + quote(unicodeLabel) + ")")
			}
		}
	}
	return name, nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("has an empty label: two dots side by side, or one at the start")
	case len(label) > maxDNSLabel:
		return fmt.Errorf("has a label of %d octets; at most %d are allowed", len(label), maxDNSLabel)
	case strings.Contains(label, "*"):
		return errors.New("has a * that is not the whole left-most label")
	case strings.Contains(label, "_"):
		return errors.New("has an underscore, which host names do not have (RFC 1123 §2.1)")
	}
	for _, r := range label {
		if r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return fmt.Errorf("has the character %q, which DNS names do not have", r)
		}
	}
	switch {
	case label[0] == '-' || label[len(label)-1] == '-':
		return errors.New("has a label that begins or ends with a hyphen")
	case strings.HasPrefix(label, "xn--"):
		return checkALabel(label)
	case len(label) >= 4 && label[2:4] == "--":
		return errors.New("has a label with hyphens in its third and fourth place, which are reserved (RFC 5890 §2.3.1)")
	}
	return nil
}

// checkALabel is nil for an A-label that decodes to a U-label and back to itself (RFC 5890 §2.3.2.1).
func checkALabel(label string) error {
	decoded, err := idna.Registration.ToUnicode(label)
	if err != nil {
		return fmt.Errorf("has the label %s, which is not valid in IDNA", quote(label))
	}
	again, err := idna.Registration.ToASCII(decoded)
	if err != nil || again != label || strings.IndexFunc(decoded, func(r rune) bool { return r > unicode.MaxASCII }) < 0 {
		return fmt.Errorf("has the label %s, which is not valid in IDNA", quote(label))
	}
	if problem := deceptive(decoded); problem != "" {
		return fmt.Errorf("has the label %s, which %s", quote(label), problem)
	}
	return nil
}

// parseEmail reads a mailbox with a dot-atom for its local part (RFC 5321 §4.1.2); the domain is lower-cased.
func parseEmail(text string) (string, error) {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return "", errors.New("is not an e-mail address: it has no @")
	}
	local, domain := text[:at], text[at+1:]
	switch {
	case len(text) > maxEmail:
		return "", fmt.Errorf("has %d octets; an e-mail address has at most %d", len(text), maxEmail)
	case local == "":
		return "", errors.New("has nothing before the @")
	case len(local) > maxLocalPart:
		return "", fmt.Errorf("has %d octets before the @; at most %d are allowed", len(local), maxLocalPart)
	case local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, ".."):
		return "", errors.New("has a dot in a wrong place before the @")
	case strings.HasPrefix(domain, "*"):
		return "", errors.New("has a wildcard, which e-mail addresses do not have")
	}
	for _, r := range local {
		if !isAtomText(r) {
			return "", fmt.Errorf("has the character %q before the @, which is not allowed there", r)
		}
	}
	domain, err := parseDNS(domain)
	if err != nil {
		return "", fmt.Errorf("has a domain that %w", err)
	}
	return local + "@" + domain, nil
}

// isAtomText is atext of RFC 5322 §3.2.3, and the dot.
func isAtomText(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~.", r))
}

func parseIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return ip, errors.New("is not an IP address")
	case ip.Zone() != "":
		return ip, errors.New("has a zone, which certificates do not have")
	}
	return ip.Unmap(), nil
}

// parseURI reads an absolute URI with a host, or a URN (RFC 5280 §4.2.1.6); scheme and host are lower-cased.
func parseURI(text string) (string, error) {
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) {
			return "", fmt.Errorf("has the character %q, which URIs do not have", r)
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("is not a URI")
	}
	if u.Scheme == "urn" && u.Opaque != "" {
		return "urn" + text[len("urn"):], nil
	}
	switch {
	case u.Scheme == "" || u.Host == "":
		return "", errors.New("is not an absolute URI with a host")
	case u.User != nil:
		return "", errors.New("has a user in its URI, which certificates do not carry")
	case strings.Contains(u.Host, ":"):
		return "", errors.New("has a port or an IPv6 host in its URI; a URI name holds a host name or an IPv4 address alone")
	}
	host := strings.ToLower(u.Host)
	if _, err := netip.ParseAddr(host); err != nil {
		if host, err = parseDNS(u.Host); err != nil {
			return "", fmt.Errorf("has a host that %w", err)
		}
		if strings.HasPrefix(host, "*") {
			return "", errors.New("has a wildcard, which URI names do not have")
		}
	}
	rest := text[len(u.Scheme)+len("://"):]
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[end:]
	} else {
		rest = ""
	}
	if u.Scheme == "spiffe" {
		if err := checkSPIFFE(u, rest); err != nil {
			return "", err
		}
	}
	return u.Scheme + "://" + host + rest, nil
}

// checkSPIFFE is nil for the SPIFFE ID of a workload (SPIFFE-ID §2, X509-SVID §2); the host was checked as a DNS name.
func checkSPIFFE(u *url.URL, path string) error {
	if u.Host != strings.ToLower(u.Host) {
		return errors.New("has a SPIFFE trust domain with capital letters")
	}
	if strings.ContainsAny(path, "?#") {
		return errors.New("has a query or a fragment, which SPIFFE IDs do not have")
	}
	segments, ok := strings.CutPrefix(path, "/")
	if !ok {
		return errors.New("names a SPIFFE trust domain only; a workload has a path after it")
	}
	for segment := range strings.SplitSeq(segments, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("has an empty or a relative segment in its SPIFFE path")
		}
		for _, r := range segment {
			if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
				return fmt.Errorf("has the character %q in its SPIFFE path; letters, digits, dot, hyphen and underscore are allowed", r)
			}
		}
	}
	return nil
}

// checkSPIFFEAlone is nil unless a SPIFFE ID stands beside another URI (X509-SVID §2: exactly one URI name).
func checkSPIFFEAlone(uris []string) error {
	isSPIFFE := func(uri string) bool { return strings.HasPrefix(uri, "spiffe://") }
	if len(uris) > 1 && slices.ContainsFunc(uris, isSPIFFE) {
		return errors.New("stands beside another URI; a SPIFFE ID is the only URI of its certificate")
	}
	return nil
}
