package inventory_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/leafward/leafward/internal/pki/inventory"
	"github.com/leafward/leafward/internal/pki/inventory/inventorytest"
)

func authority(t testing.TB) *inventorytest.Authority {
	t.Helper()
	a, err := inventorytest.New("elsewhere", time.Now())
	check(t, err)
	return a
}

func leaf(t testing.TB, a *inventorytest.Authority, name string) []byte {
	t.Helper()
	der, err := a.Leaf(2, inventorytest.Year, nil, name)
	check(t, err)
	return der
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// told is each row in a few words: its line, and the names of its chain or what is wrong.
func told(t testing.TB, rows iter.Seq2[inventory.Row, error]) (all []string) {
	t.Helper()
	for row, err := range rows {
		check(t, err)
		said := fmt.Sprintf("%d", row.Line)
		for _, cert := range row.Chain {
			said += " " + cert.Subject.CommonName
		}
		if row.Wrong != nil {
			said += " " + row.Wrong.Field + " " + row.Wrong.Problem
		}
		all = append(all, said)
	}
	return all
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		t.Errorf("the rows are\n%s\nwanted\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// lines is how many lines a text has.
func lines(text string) int { return strings.Count(text, "\n") }

func bundle(t testing.TB, text string) []string {
	t.Helper()
	return told(t, inventory.Bundle(strings.NewReader(text), 1))
}

func TestACertificateOfABundleHasThoseAboveItBehindIt(t *testing.T) {
	a := authority(t)
	b, err := inventorytest.New("another", time.Now())
	check(t, err)
	one, two := inventorytest.PEM(leaf(t, a, "a.example.com")), inventorytest.PEM(leaf(t, a, "b.example.com"))
	root := inventorytest.PEM(a.Certificate.Raw)
	text := "subject: a\n" + one + "\nissuer:\n" + root + two + "# the end\n"
	second := 2 + lines(one) + 2 + lines(root)
	same(t, bundle(t, text), "2 a.example.com elsewhere", fmt.Sprintf("%d b.example.com", second))
	same(t, bundle(t, root+one), "1 certificate is the certificate of an authority", fmt.Sprintf("%d a.example.com", 1+lines(root)))
	same(t, bundle(t, one+root+inventorytest.PEM(b.Certificate.Raw)), "1 a.example.com elsewhere", fmt.Sprintf("%d certificate is the certificate of an authority", 1+lines(one+root)))
}

func TestADamagedBlockCostsNoOther(t *testing.T) {
	a := authority(t)
	der := leaf(t, a, "a.example.com")
	good, end := inventorytest.PEM(der), "-----END CERTIFICATE-----\n"
	for name, c := range map[string]struct{ text, says string }{
		"base64":       {good[:100] + "!" + good[101:], "is no PEM"},
		"cut":          {inventorytest.PEM(der[:50]), "the certificate cannot be read"},
		"no end":       {strings.TrimSuffix(good, end), "begins a block that has no END line"},
		"no beginning": {"---" + good, "is the end of a block"},
		"a request":    {strings.ReplaceAll(good, "CERTIFICATE", "CERTIFICATE REQUEST"), `is a "CERTIFICATE REQUEST", not a certificate`},
		"NUL":          {good[:100] + "\x00" + good[101:], "holds a NUL"},
		"huge":         {"-----BEGIN CERTIFICATE-----\n" + strings.Repeat(strings.Repeat("A", 63)+"\n", inventory.MaxRow/64+100) + end, "begins a block that is longer"},
		"a huge line":  {"-----BEGIN CERTIFICATE-----\n" + strings.Repeat("A", inventory.MaxRow+100) + "\n" + end, "begins a block that is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			at := 1 + lines(good)
			if name == "no beginning" {
				at += lines(c.text) - 1
			}
			same(t, bundle(t, good+c.text+good), "1 a.example.com", fmt.Sprintf("%d certificate %s", at, c.says), fmt.Sprintf("%d a.example.com", 1+lines(good+c.text)))
		})
	}
}

func TestAPrivateKeyIsToldAndNotKept(t *testing.T) {
	a := authority(t)
	good := inventorytest.PEM(leaf(t, a, "a.example.com"))
	secret := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("the secret")}))
	text := good + secret + inventorytest.PEM(a.Certificate.Raw)
	same(t, bundle(t, text), fmt.Sprintf("%d certificate is a private key", 1+lines(good)), "1 a.example.com elsewhere")
	sheet := "name,certificate\n\"a\",\"" + good + secret + "\"\nb," + base64.StdEncoding.EncodeToString(leaf(t, a, "b.example.com")) + "\n"
	same(t, table(t, sheet), "2 certificate stands in a row with a private key", fmt.Sprintf("%d b.example.com", 2+lines(good+secret)+1))
	for _, rows := range []iter.Seq2[inventory.Row, error]{inventory.Bundle(strings.NewReader(text), 1), open(t, sheet).Rows()} {
		for row, err := range rows {
			check(t, err)
			if bytes.Contains(row.Text, []byte("PRIVATE")) || row.Wrong != nil && (row.Text != nil || strings.Contains(row.Wrong.Problem, "secret")) {
				t.Errorf("%d holds the key: %s %v", row.Line, row.Text, row.Wrong)
			}
		}
	}
}

func open(t testing.TB, text string) *inventory.Sheet {
	t.Helper()
	s, err := inventory.Open(strings.NewReader(text), 1, []string{"name", "owner", "profile", "policy"})
	check(t, err)
	return s
}

func table(t testing.TB, text string) []string {
	t.Helper()
	return told(t, open(t, text).Rows())
}

func TestACellHoldsACertificateInEachForm(t *testing.T) {
	a := authority(t)
	der := leaf(t, a, "a.example.com")
	text := inventorytest.PEM(der)
	for name, cell := range map[string]string{
		"PEM": `"` + text + `"`, "PEM on one line": strings.ReplaceAll(text, "\n", `\n`), "base64": base64.StdEncoding.EncodeToString(der),
	} {
		for _, separator := range []string{",", ";", "\t"} {
			sheet := "\ufeffOwner ID" + separator + "Certificate" + separator + "Renewal Policy\r\nme" + separator + cell + separator + "\r\n"
			rows := 0
			for row, err := range open(t, sheet).Rows() {
				check(t, err)
				rows++
				if row.Wrong != nil || row.Chain[0].Subject.CommonName != "a.example.com" || len(row.Cells) != 1 || row.Cells["owner"] != "me" {
					t.Errorf("%s with %q: %v %v", name, separator, row.Wrong, row.Cells)
				}
			}
			if rows != 1 {
				t.Errorf("%s with %q: %d rows", name, separator, rows)
			}
		}
	}
	root := inventorytest.PEM(a.Certificate.Raw)
	same(t, table(t, "certificate\n\""+text+root+"\"\n\""+root+"\"\n\""+text+text+"\"\n\"\"\n*\n"),
		"2 a.example.com elsewhere", fmt.Sprintf("%d certificate is the certificate of an authority", 2+lines(text+root)+1),
		fmt.Sprintf("%d certificate has a chain in which", 2+lines(text+root+root)+2), fmt.Sprintf("%d certificate is missing", 2+lines(text+root+root+text+text)+3), fmt.Sprintf("%d certificate is neither", 2+lines(text+root+root+text+text)+4))
}

func TestARowThatCannotBeSplitCostsNoOther(t *testing.T) {
	a := authority(t)
	der := leaf(t, a, "a.example.com")
	text, code := inventorytest.PEM(der), base64.StdEncoding.EncodeToString(der)
	head := "name,certificate\n"
	for name, c := range map[string]struct {
		bad  string
		says string
	}{
		"a quote too many":      {`"x,` + code + "\n", "is no row"},
		"an open quote":         {`x,"` + strings.TrimSuffix(text, "\n") + "\n", "is no row"},
		"a quote in the middle": {`x"y",` + code + "\n", "is no row"},
		"a cell too many":       {"x,y," + code + "\n", "has 3 cells, and the heading has 2"},
		"a cell too few":        {"x\n", "has 1 cell, and the heading has 2"},
		"a huge row":            {"x," + strings.Repeat("A", inventory.MaxRow) + "\n", "is longer than any row"},
		"not UTF-8":             {"\xff," + code + "\n", "holds octets that are not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			one, many := "good,"+code+"\n", "good,\""+text+"\"\n"
			at := 2 + lines(one+many)
			got := table(t, head+one+many+c.bad+one+many)
			same(t, got, "2 a.example.com", "3 a.example.com", fmt.Sprintf("%d row %s", at, c.says), fmt.Sprintf("%d a.example.com", at+lines(c.bad)), fmt.Sprintf("%d a.example.com", at+lines(c.bad)+1))
		})
	}
	same(t, table(t, head+"x,\"never closed\nb,"+code+"\n"), "2 row begins a row with a quote that is never closed", "3 a.example.com")
}

func TestAHeadingNamesTheCertificateAndNoColumnTwice(t *testing.T) {
	for text, says := range map[string]string{
		"": "is empty", "\n\n": "is empty", "name,owner\n": "names no column certificate", "certificate,pem\n": "names the column certificate twice",
		"certificate,\"name\nx\n": "is no line of CSV", "certificate,\xff\n": "not UTF-8", strings.Repeat("a,", 300) + "certificate\n": "at most 200 columns",
		strings.Repeat("a", inventory.MaxRow) + ",certificate\n": "too long",
	} {
		if _, err := inventory.Open(strings.NewReader(text), 1, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	s := open(t, "certificate, Name ,Colour\n")
	if !slices.Equal(s.Unknown, []string{"Colour"}) {
		t.Errorf("unknown are %v", s.Unknown)
	}
}

func TestAListThatCannotBeReadToItsEndSaysSo(t *testing.T) {
	broken := errors.New("the disk is gone")
	in := func() io.Reader {
		return io.MultiReader(strings.NewReader("certificate\nx"), iotest.ErrReader(broken))
	}
	sheet, err := inventory.Open(in(), 1, nil)
	check(t, err)
	for name, rows := range map[string]iter.Seq2[inventory.Row, error]{"PEM": inventory.Bundle(in(), 1), "CSV": sheet.Rows()} {
		var last error
		for _, err := range rows {
			last = err
		}
		if !errors.Is(last, broken) {
			t.Errorf("%s ends with %v", name, last)
		}
	}
}

// Whatever stands in a list, each row has its lines, in order, and text that says the same again.
func FuzzInventory(f *testing.F) {
	a, err := inventorytest.New("elsewhere", time.Unix(1e9, 0))
	check(f, err)
	text := inventorytest.PEM(leaf(f, a, "a.example.com")) + inventorytest.PEM(a.Certificate.Raw)
	f.Add([]byte(text + text))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("name,certificate\n\"a\",\"" + text + "\"\n\"b,c\n"))
	f.Add([]byte("certificate;tags\n\"\"\"\";x=y\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		rows := []iter.Seq2[inventory.Row, error]{inventory.Bundle(bytes.NewReader(list), 1)}
		if sheet, err := inventory.Open(bytes.NewReader(list), 1, nil); err == nil {
			rows = append(rows, sheet.Rows())
		}
		for _, all := range rows {
			last := 0
			for row, err := range all {
				check(t, err)
				if row.Wrong == nil && (row.Line <= last || len(row.Chain) == 0 || len(row.Text) > inventory.MaxRow+64) || row.Last < row.Line || (row.Wrong == nil) == (row.Text == nil) {
					t.Fatalf("line %d to %d after %d: %v, %d certificates", row.Line, row.Last, last, row.Wrong, len(row.Chain))
				}
				last = max(last, row.Last)
			}
		}
	})
}
