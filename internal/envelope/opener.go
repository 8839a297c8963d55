package envelope

import (
	"filippo.io/age"
	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/keys"
)

// Opener is what a person gives to make an envelope, and to open one.
type Opener struct {
	PassphraseFile string
	Recipients     []string                                     // public keys of age, to make one
	IdentityFile   string                                       // private keys of age, to open one
	Ask            func(prompt string) (leafward.Secret, error) // asks a person for the passphrase
}

// To are those who can open what is made; what says what that is, such as "the backup".
func (o Opener) To(what string) ([]age.Recipient, error) {
	if len(o.Recipients) > 0 {
		return ForRecipients(o.Recipients)
	}
	secret, err := o.NewPassphrase(what)
	if err != nil {
		return nil, err
	}
	return ForPassphrase(secret)
}

// NewPassphrase is the passphrase for what is made; one that is typed is asked for twice.
func (o Opener) NewPassphrase(what string) (leafward.Secret, error) {
	secret, err := o.passphrase("Passphrase for " + what)
	if err != nil {
		return nil, err
	}
	if _, err := ForPassphrase(secret); err != nil || o.PassphraseFile != "" {
		return secret, err
	}
	again, err := o.Ask("The same again")
	if err == nil && string(again.Reveal()) != string(secret.Reveal()) {
		err = leafward.Errorf(leafward.Invalid, "type it again", "the two passphrases are not the same")
	}
	return secret, err
}

// With is what opens it.
func (o Opener) With(what string) ([]age.Identity, error) {
	if o.IdentityFile != "" {
		text, err := keys.ReadPrivate(o.IdentityFile)
		if err != nil {
			return nil, err
		}
		return ByIdentities(text.Reveal())
	}
	secret, err := o.passphrase("Passphrase of " + what)
	if err != nil {
		return nil, err
	}
	return ByPassphrase(secret)
}

func (o Opener) passphrase(prompt string) (leafward.Secret, error) {
	if o.PassphraseFile == "" {
		return o.Ask(prompt)
	}
	return keys.ReadPassphrase(o.PassphraseFile)
}
