package probe

import (
	"fmt"
	"io"
	"strings"
)

// StartTLS is the protocol that is spoken before TLS begins; "" is none.
type StartTLS string

// The protocols whose upgrade is known.
const (
	None StartTLS = ""
	SMTP StartTLS = "smtp" // RFC 3207
	IMAP StartTLS = "imap" // RFC 3501 § 6.2.1
)

const (
	maxLine  = 1000 // bytes
	maxLines = 100  // of one reply
)

// upgradeError says why TLS could not be begun within another protocol.
type upgradeError struct{ problem string }

func (e *upgradeError) Error() string { return e.problem }

// begin asks for the upgrade; the next byte on the connection is TLS.
func (s StartTLS) begin(conn io.ReadWriter) error {
	switch s {
	case None:
		return nil
	case SMTP:
		return beginSMTP(conn)
	case IMAP:
		return beginIMAP(conn)
	}
	return &upgradeError{fmt.Sprintf("STARTTLS for %q is not known: it is for smtp and imap", string(s))}
}

func beginSMTP(conn io.ReadWriter) error {
	if _, err := smtpReply(conn, "220"); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "EHLO probe.invalid\r\n"); err != nil {
		return err
	}
	offers, err := smtpReply(conn, "250")
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ToUpper(offers), "STARTTLS") {
		return &upgradeError{"the SMTP server does not offer STARTTLS"}
	}
	if _, err := io.WriteString(conn, "STARTTLS\r\n"); err != nil {
		return err
	}
	_, err = smtpReply(conn, "220")
	return err
}

// smtpReply reads one reply, which may have several lines, and wants a code (RFC 5321 § 4.2).
func smtpReply(conn io.Reader, code string) (string, error) {
	var text strings.Builder
	for range maxLines {
		line, err := readLine(conn)
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(line, code) {
			return "", &upgradeError{fmt.Sprintf("the server does not speak SMTP or refused: %q", line)}
		}
		fmt.Fprintln(&text, line)
		if !strings.HasPrefix(line, code+"-") {
			return text.String(), nil
		}
	}
	return "", &upgradeError{"the SMTP reply does not end"}
}

func beginIMAP(conn io.ReadWriter) error {
	line, err := readLine(conn)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "* OK") {
		return &upgradeError{fmt.Sprintf("the server does not speak IMAP or refused: %q", line)}
	}
	if _, err := io.WriteString(conn, "a STARTTLS\r\n"); err != nil {
		return err
	}
	for range maxLines {
		line, err := readLine(conn)
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "a OK"):
			return nil
		case !strings.HasPrefix(line, "* "):
			return &upgradeError{fmt.Sprintf("the IMAP server refused STARTTLS: %q", line)}
		}
	}
	return &upgradeError{"the IMAP reply does not end"}
}

// readLine reads to the line feed and not a byte further: what follows may be TLS.
func readLine(conn io.Reader) (string, error) {
	var line []byte
	var one [1]byte
	for len(line) < maxLine {
		if _, err := io.ReadFull(conn, one[:]); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", &upgradeError{fmt.Sprintf("a line has more than %d bytes", maxLine)}
}
