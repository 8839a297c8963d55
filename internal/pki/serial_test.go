package pki

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

// The bound of the chi-square test, with one degree of freedom, stands for p > 1e-6 over all 128 bits together: 34.2 is
// passed by chance by one bit in 200 million.
func TestSerialsAreRandomPositiveAndOfAllowedLength(t *testing.T) {
	const n, bound = 10_000, 34.2
	seen := map[string]bool{}
	var ones [128]int
	for range n {
		serial := NewSerial()
		octets := serial.BitLen()/8 + 1
		if serial.Sign() <= 0 || octets < 9 || octets > 20 {
			t.Fatalf("the serial %s has %d octets", SerialHex(serial), octets)
		}
		seen[SerialHex(serial)] = true
		for i := range ones {
			ones[i] += int(serial.Bit(i))
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d serials stand twice", n-len(seen), n)
	}
	for i, count := range ones {
		if chi := math.Pow(float64(count)-n/2, 2) / (n / 4); chi > bound {
			t.Errorf("bit %d is set in %d of %d serials", i, count, n)
		}
	}
}

func TestSerialsAreReadInTheFormsOfToolsAndWrittenInOne(t *testing.T) {
	full := strings.Repeat("ff", 20)
	for text, want := range map[string]string{
		"1": "1", "0A": "a", "00:0a:FF": "aff", "a:0b": "a0b", full: full, "00" + full: full,
		"0000000000000000000000000000000000000000000000000000000000000001": "1",
	} {
		serial, err := ParseSerialHex(text)
		check(t, err)
		if SerialHex(serial) != want {
			t.Errorf("%s is read as %s", text, SerialHex(serial))
		}
	}
	for text, says := range map[string]string{
		"": "empty", "0": "zero", "00:00": "zero", "-1": "not hex", "+1": "not hex", "0x1": "not hex", "1_0": "not hex",
		"g": "not hex", " 1": "not hex", ":": "colons", "1:": "colons", "1::2": "colons", "a:b": "colons", "123:45": "colons",
		"1" + strings.Repeat("00", 20): "21 octets", strings.Repeat("0", 129): "129 characters", "é": "not hex",
	} {
		_, err := ParseSerialHex(text)
		wantError(t, err, says)
	}
}

func FuzzParseSerialHex(f *testing.F) {
	for _, seed := range []string{"1", "0a:ff", strings.Repeat("f", 40), "00", ":", "-1", "0x1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		serial, err := ParseSerialHex(text)
		if err != nil {
			return
		}
		if serial.Sign() <= 0 || serial.BitLen() > 160 {
			t.Errorf("%q was read as %s", text, serial)
		}
		again, err := ParseSerialHex(SerialHex(serial))
		check(t, err)
		if again.Cmp(serial) != 0 || !strings.EqualFold(SerialHex(serial), new(big.Int).Set(again).Text(16)) {
			t.Errorf("%q was read as %s and then as %s", text, serial, again)
		}
	})
}
