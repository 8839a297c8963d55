package ca

// Holds tells whether the private key of a key pair is open in this process.
func (c *CA) Holds(pair string) bool { return c.ring.Holds(keyContext(pair)) }
