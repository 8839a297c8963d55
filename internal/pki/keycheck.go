package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

const (
	minRSAExponent = 65537 // FIPS 186-5 §5.1
	smallPrimes    = 752   // no factor below it: CA/Browser Forum BR §6.1.6
	fermatRounds   = 100
	rocaPrimes     = 167 // the largest prime of the fingerprint of CVE-2017-15361
)

// CheckPublicKey is nil for a key that may be certified: of an issuable kind, well-formed, and free of the weaknesses
// that can be seen from outside (small exponent, small or close primes, the Infineon fingerprint, a point that is not
// on its curve or generates a small group).
func CheckPublicKey(pub crypto.PublicKey) error {
	kind, err := KindOf(pub)
	if err != nil {
		return err
	}
	if err := kind.Issuable(); err != nil {
		return err
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return checkRSA(pub)
	case *ecdsa.PublicKey:
		if _, err := pub.ECDH(); err != nil {
			return errors.New("the ECDSA key is not a point on its curve")
		}
	case ed25519.PublicKey:
		return checkEd25519(pub)
	}
	return nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub.E < minRSAExponent || pub.E%2 == 0 {
		return fmt.Errorf("the RSA exponent is %d; an odd one from %d on is needed", pub.E, minRSAExponent)
	}
	if pub.N.Sign() <= 0 {
		return errors.New("the RSA modulus is not positive")
	}
	primes := primesBelow(smallPrimes)
	var remainder big.Int
	infineon := true
	for _, p := range primes {
		rest := remainder.Mod(pub.N, big.NewInt(p)).Int64()
		if rest == 0 {
			return fmt.Errorf("the RSA modulus can be divided by %d: the key is broken, make a new one", p)
		}
		if p > 2 && p <= rocaPrimes && infineon {
			infineon = isPowerOf(minRSAExponent%p, rest, p)
		}
	}
	if infineon {
		return errors.New("the RSA key was made by a weak Infineon library (CVE-2017-15361): make a new one with other software")
	}
	if closePrimes(pub.N) {
		return errors.New("the RSA key has two primes close to each other, so that it can be factored: make a new one")
	}
	return nil
}

// primesBelow lists the primes below a limit.
func primesBelow(limit int64) []int64 {
	var primes []int64
	for n := int64(2); n < limit; n++ {
		if !slices.ContainsFunc(primes, func(p int64) bool { return n%p == 0 }) {
			primes = append(primes, n)
		}
	}
	return primes
}

// isPowerOf is whether rest is a power of the generator modulo p. A modulus of the weak Infineon library is a power
// of 65537 modulo every small prime; another one is so with a chance of less than one in 2^27.
func isPowerOf(generator, rest, p int64) bool {
	for power := int64(1); ; {
		if power == rest {
			return true
		}
		if power = power * generator % p; power == 1 {
			return false
		}
	}
}

// closePrimes tries to factor n by Fermat's method: n = a² − b² for an a just above its root.
func closePrimes(n *big.Int) bool {
	one := big.NewInt(1)
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) == 0 {
		return true
	}
	a.Add(a, one)
	b2 := new(big.Int).Mul(a, a)
	b2.Sub(b2, n)
	step := new(big.Int)
	for range fermatRounds {
		if isSquare(b2) {
			return true
		}
		b2.Add(b2, step.Lsh(a, 1)).Add(b2, one) // (a+1)² − a² = 2a + 1
		a.Add(a, one)
	}
	return false
}

// isSquare is whether n is a perfect square. Remainders rule out all but one in a hundred before a root is taken.
func isSquare(n *big.Int) bool {
	if n.Sign() == 0 {
		return true
	}
	const squaresMod64 = 0x0202021202030213 // bit i stands for i being a square modulo 64
	if uint64(squaresMod64)>>(uint64(n.Bits()[0])&63)&1 == 0 {
		return false
	}
	const modulus = 9 * 5 * 7 * 11 * 13
	rest := new(big.Int).Mod(n, big.NewInt(modulus)).Int64()
	for _, m := range [...]int64{9, 5, 7, 11, 13} {
		if !isSquareMod(rest%m, m) {
			return false
		}
	}
	root := new(big.Int).Sqrt(n)
	return root.Mul(root, root).Cmp(n) == 0
}

func isSquareMod(rest, m int64) bool {
	for i := range m {
		if i*i%m == rest {
			return true
		}
	}
	return false
}

// checkEd25519 decodes the point by RFC 8032 §5.1.3, as far as its existence, and refuses the eight points of small
// order: with y = ±1, y = 0 or d·y⁴ + 2y² = 1.
func checkEd25519(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("the Ed25519 key has %d octets instead of %d", len(pub), ed25519.PublicKeySize)
	}
	octets := slices.Clone(pub)
	octets[31] &= 0x7f // the sign of x
	slices.Reverse(octets)
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	y := new(big.Int).SetBytes(octets)
	if y.Cmp(p) >= 0 {
		return errors.New("the Ed25519 key is not in its one encoding")
	}
	// d = −121665 / 121666, so everything is multiplied by 121666 instead of divided.
	const numerator, denominator = -121665, 121666
	y2 := new(big.Int).Mul(y, y)
	y2.Mod(y2, p)
	// x² = (y² − 1) / (d·y² + 1) has a root exactly when the product of the two has one.
	u := new(big.Int).Sub(y2, one)
	u.Mul(u, big.NewInt(denominator))
	v := new(big.Int).Mul(y2, big.NewInt(numerator))
	v.Add(v, big.NewInt(denominator))
	product := new(big.Int).Mul(u, v)
	if big.Jacobi(product.Mod(product, p), p) == -1 {
		return errors.New("the Ed25519 key is not a point on its curve")
	}
	order8 := new(big.Int).Mul(y2, big.NewInt(numerator)) // d·y⁴ + 2y² − 1
	order8.Add(order8, big.NewInt(2*denominator))
	order8.Mul(order8, y2)
	order8.Sub(order8, big.NewInt(denominator))
	if y2.Sign() == 0 || y2.Cmp(one) == 0 || order8.Mod(order8, p).Sign() == 0 {
		return errors.New("the Ed25519 key is a point of small order")
	}
	return nil
}
