package backup

import (
	"bytes"
	"fmt"

	"filippo.io/age"
	"github.com/leafward/leafward"
)

// MinPassphrase is the length, in octets, from which on a passphrase is taken: shorter ones are guessed from a stolen file.
const MinPassphrase = 12

// ForPassphrase makes a backup that the passphrase opens.
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
		return nil, leafward.Errorf(leafward.Invalid, "give the passphrase that the backup was made with", "the passphrase is empty")
	}
	return []age.Identity{with}, nil
}

// ForRecipients makes a backup that any of the recipients' keys opens; they are public keys of age, one a text.
func ForRecipients(texts []string) (to []age.Recipient, err error) {
	for _, text := range texts {
		some, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
		if err != nil || len(some) != 1 {
			return nil, leafward.Errorf(leafward.Invalid, "give the line that `age-keygen` shows as the public key: age1…", "--recipient %.80q is not a public key of age", text)
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
