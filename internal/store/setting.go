package store

// Setting reads a global switch; "" when it was never set.
func (v *View) Setting(name string) (value string, err error) {
	_, err = v.one("SELECT value FROM settings WHERE name = $1", []any{name}, &value)
	return value, err
}

// SetSetting writes a global switch.
func (tx *Tx) SetSetting(name, value string) {
	tx.Exec("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
}
