package backup_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/backup"
	"github.com/leafward/leafward/internal/envelope"
)

// made is a backup of a database of random octets, for a new key.
func made(t *testing.T, size int) (file, database []byte, with []age.Identity) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := envelope.ForRecipients([]string{key.Recipient().String()})
	if err != nil {
		t.Fatal(err)
	}
	with, err = envelope.ByIdentities([]byte("# a comment\n" + key.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	database = make([]byte, size)
	_, _ = rand.Read(database) // it never fails
	var out bytes.Buffer
	m := backup.Manifest{Version: "v1", TakenAt: time.Unix(1_800_000_000, 0).UTC(), Schema: 7, MasterKey: "key", Events: 9, Size: int64(size)}
	if err := backup.Write(&out, to, m, bytes.NewReader(database)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), database, with
}

// open reads a backup to its end.
func open(file []byte, with []age.Identity) (backup.Manifest, []byte, error) {
	m, content, err := backup.Open(bytes.NewReader(file), with)
	if err != nil {
		return m, nil, err
	}
	database, err := io.ReadAll(content)
	return m, database, err
}

func TestABackupComesBackAsItWas(t *testing.T) {
	for _, size := range []int{0, 1, 64 << 10, 300_000} {
		file, database, with := made(t, size)
		m, back, err := open(file, with)
		if err != nil || !bytes.Equal(back, database) {
			t.Errorf("%d octets: %d come back: %v", size, len(back), err)
		}
		if m.Schema != 7 || m.MasterKey != "key" || m.Events != 9 || m.Format != backup.Format {
			t.Errorf("the manifest comes back as %+v", m)
		}
		if size > 64 && bytes.Contains(file, database[:64]) {
			t.Error("the database stands in the file in the clear")
		}
	}
}

func TestABackupThatWasCutOffOrChangedIsRefused(t *testing.T) {
	file, _, with := made(t, 200_000)
	for _, length := range []int{0, 10, 100, 250, len(file) / 2, len(file) - 1} {
		if _, _, err := open(file[:length], with); leafward.KindOf(err) != leafward.Invalid {
			t.Errorf("cut off after %d octets: %v", length, err)
		}
	}
	for at := 30; at < len(file); at += len(file) / 37 {
		changed := bytes.Clone(file)
		changed[at] ^= 1
		if _, _, err := open(changed, with); err == nil {
			t.Errorf("changed at octet %d, it was taken", at)
		}
	}
	if _, _, err := open(append(bytes.Clone(file), 'x'), with); err == nil {
		t.Error("with something behind its end, it was taken")
	}
}

func TestABackupOpensForThoseItWasMadeFor(t *testing.T) {
	file, _, _ := made(t, 100)
	_, _, others := made(t, 1)
	_, _, err := open(file, others)
	if leafward.KindOf(err) != leafward.Denied {
		t.Errorf("another's key: %v", err)
	}
	word := leafward.Secret("correct horse battery")
	to, err := envelope.ForPassphrase(word)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := backup.Write(&out, to, backup.Manifest{Size: 3}, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]leafward.Kind{"correct horse battery": "", "correct horse batterz": leafward.Denied} {
		with, err := envelope.ByPassphrase(leafward.Secret(text))
		if err != nil {
			t.Fatal(err)
		}
		_, database, err := open(out.Bytes(), with)
		if want == "" && (err != nil || string(database) != "abc") || want != "" && leafward.KindOf(err) != want {
			t.Errorf("%q: %q, %v", text, database, err)
		}
	}
}

func TestKeysThatAreNoneAreRefused(t *testing.T) {
	if _, err := envelope.ForPassphrase(leafward.Secret("short")); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short passphrase: %v", err)
	}
	if _, err := envelope.ByPassphrase(nil); err == nil {
		t.Error("an empty passphrase was taken")
	}
	for _, text := range []string{"", "age1nonsense", "AGE-SECRET-KEY-1"} {
		if _, err := envelope.ForRecipients([]string{text}); err == nil {
			t.Errorf("%q was taken for a recipient", text)
		}
	}
	if _, err := envelope.ByIdentities([]byte("AGE-SECRET-KEY-nonsense")); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a file without a key: %v", err)
	}
}

func TestADatabaseThatIsNotAsLongAsWasSaidIsNoBackup(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"ab", "abcd"} {
		if err := backup.Write(io.Discard, []age.Recipient{key.Recipient()}, backup.Manifest{Size: 3}, strings.NewReader(text)); err == nil {
			t.Errorf("%d octets were taken for 3", len(text))
		}
	}
}
