// Package envelope is how what leaves the server is encrypted for people: with age (age-encryption.org/v1), to a passphrase
// or to public keys.
package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/leafward/leafward"
)

// MinPassphrase is the length, in octets, from which on a passphrase is taken: shorter ones are guessed from a stolen file.
const MinPassphrase = 12

// MaxSealed is the length, in octets, up to which Open reads an envelope.
const MaxSealed = 64 << 10

// ForPassphrase makes an envelope that the passphrase opens.
func ForPassphrase(secret leafward.Secret) ([]age.Recipient, error) {
	if n := len(secret.Reveal()); n < MinPassphrase {
		return nil, leafward.Errorf(leafward.Invalid, fmt.Sprintf("give one of at least %d characters, or encrypt to a --recipient", MinPassphrase), "the passphrase has %d characters and would be guessed", n)
	}
	to, err := age.NewScryptRecipient(string(secret.Reveal()))
	if err != nil {
		return nil, err
	}
	return []age.Recipient{to}, nil
}

// ByPassphrase opens what ForPassphrase made.
func ByPassphrase(secret leafward.Secret) ([]age.Identity, error) {
	with, err := age.NewScryptIdentity(string(secret.Reveal()))
	if err != nil {
		return nil, leafward.Errorf(leafward.Invalid, "give the passphrase that it was encrypted with", "the passphrase is empty")
	}
	return []age.Identity{with}, nil
}

// ForRecipients makes an envelope that any of the recipients' keys opens; they are public keys of age, one a text.
func ForRecipients(texts []string) (to []age.Recipient, err error) {
	for _, text := range texts {
		some, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
		if err != nil || len(some) != 1 {
			return nil, leafward.Errorf(leafward.Invalid, "give the line that `age-keygen` shows as the public key: age1…", "%.80q is not a public key of age", text)
		}
		to = append(to, some...)
	}
	return to, nil
}

// ByIdentities opens what ForRecipients made; the text is a file of private keys that age-keygen wrote.
func ByIdentities(file []byte) ([]age.Identity, error) {
	with, err := age.ParseIdentities(bytes.NewReader(file))
	if err != nil { // without its text, which may quote the file
		return nil, leafward.Errorf(leafward.Invalid, "give the file that age-keygen wrote, with a line AGE-SECRET-KEY-…", "the file of --identity holds no private key of age")
	}
	return with, nil
}

// Seal encrypts a short text, and writes it as text (the armor of age).
func Seal(to []age.Recipient, content []byte) ([]byte, error) {
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	in, err := age.Encrypt(text, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	_, err = in.Write(content)
	err = errors.Join(err, in.Close(), text.Close())
	return out.Bytes(), err
}

// IsSealed tells whether a text begins as one of Seal does.
func IsSealed(text []byte) bool { return bytes.HasPrefix(text, []byte(armor.Header)) }

// Open gives back what Seal was given. What was changed or cut off is Invalid, and what is for others Denied.
func Open(sealed []byte, with []age.Identity) (leafward.Secret, error) {
	if len(sealed) > MaxSealed {
		return nil, damaged(fmt.Errorf("it has more than %d octets", MaxSealed))
	}
	in, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), with...)
	if _, no := errors.AsType[*age.NoIdentityMatchError](err); no {
		return nil, leafward.Errorf(leafward.Denied, "give the passphrase or the --identity that it was encrypted for, or another copy of the file", "it cannot be opened with what was given: a wrong passphrase or identity, or the file was changed")
	}
	if err != nil {
		return nil, damaged(err)
	}
	content, err := io.ReadAll(in)
	if err != nil {
		return nil, damaged(err)
	}
	return content, nil
}

func damaged(cause error) error {
	return &leafward.Error{Kind: leafward.Invalid, Message: "it is not whole, or nothing that was encrypted by age as text", Fix: "give the file as it was written", Cause: cause}
}
