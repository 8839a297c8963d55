package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/issuer"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/plugin"
	"github.com/leafward/leafward/internal/store"
)

// Issuers is what callers ask of issuers.
type Issuers struct {
	db      *store.DB
	master  *keys.Master
	plugins []issuer.Plugin
}

// NewIssuers keeps issuers of the types that are built in; the master key seals their secrets.
func NewIssuers(db *store.DB, master *keys.Master, plugins []issuer.Plugin) *Issuers {
	return &Issuers{db: db, master: master, plugins: plugins}
}

// List lists issuers.
func (s *Issuers) List(ctx context.Context, q leafward.Query) (leafward.List[leafward.Issuer], error) {
	return store.Issuers().List(ctx, s.db, q)
}

// Get reads one issuer.
func (s *Issuers) Get(ctx context.Context, id string) (leafward.Issuer, error) {
	return store.Issuers().Get(ctx, s.db, id)
}

// Create makes an issuer of what fill writes, with what its type needs beside the row, such as an authority. The
// configuration is whole, secrets and all.
func (s *Issuers) Create(ctx context.Context, fill func(*leafward.Issuer) error, config json.RawMessage) (leafward.Issuer, error) {
	row := leafward.Issuer{Team: homeTeam(ctx), Enabled: true}
	var p leafward.Problems
	if err := p.Merge(fill(&row)); err != nil {
		return row, err
	}
	if row.ID == "" {
		row.ID = store.NewID("iss")
	}
	built, err := s.plugin(row.Type)
	if err != nil && row.Type != "" {
		return row, err
	}
	whole, err := plugin.Merge(nil, config)
	if err := p.Merge(inConfig(err, nil)); err != nil {
		return row, err
	}
	if err == nil && row.Type != "" {
		if err := p.Merge(inConfig(built.Parse(whole), nil)); err != nil {
			return row, err
		}
		if err := s.seal(&row, built, whole); err != nil {
			return row, err
		}
	}
	if err := p.Merge(row.Validate()); err != nil {
		return row, err
	}
	if err := p.Err(); err != nil {
		return row, err
	}
	if built.Create != nil {
		row, err = built.Create(ctx, row, whole)
		return row, inConfig(err, &built)
	}
	return store.Issuers().Create(ctx, s.db, func(i *leafward.Issuer) error { *i = row; return nil }, checkIssuer)
}

// Update changes an issuer. Config, when not nil, is laid over the stored configuration one level deep. The type stays,
// and so does what the type's plugin does not let go.
func (s *Issuers) Update(ctx context.Context, id, match string, change func(*leafward.Issuer) error, config json.RawMessage) (leafward.Issuer, error) {
	var on bool // before
	return store.Issuers().Update(ctx, s.db, id, match, func(i *leafward.Issuer) error {
		var p leafward.Problems
		kind := i.Type
		on = i.Enabled
		if err := p.Merge(change(i)); err != nil {
			return err
		}
		p.Check(i.Type == kind, "type", "cannot be changed: the issuer is of type "+kind+" for life", "make another issuer")
		i.Type = kind
		if config != nil {
			if err := p.Merge(s.reconfigure(i, config)); err != nil {
				return err
			}
		}
		return p.Err()
	}, func(tx *store.Tx, i *leafward.Issuer) error {
		if err := checkIssuer(tx, i); err != nil || on || !i.Enabled || i.Authority == "" {
			return err
		}
		a, found, err := tx.FindAuthority(i.Authority) // what is switched on must be able to sign
		if err != nil || !found {
			return err
		}
		return a.Away()
	})
}

// Delete removes an issuer that nothing needs any more.
func (s *Issuers) Delete(ctx context.Context, id, match string) error {
	row, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if built, err := s.plugin(row.Type); err == nil && built.Delete != nil {
		return built.Delete(ctx, id, match)
	}
	return store.Issuers().Delete(ctx, s.db, id, match, nil)
}

// Test finds out whether the issuer would sign now; the step that fails is the last.
func (s *Issuers) Test(ctx context.Context, id string) ([]leafward.Step, error) {
	row, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	open, err := s.Open(ctx, row)
	if err != nil {
		return nil, err
	}
	tester, ok := open.(issuer.Tester)
	if !ok {
		return nil, leafward.Errorf(leafward.Conflict, "issue a certificate to see whether it works", "issuers of type %s cannot be tested", row.Type)
	}
	return tester.Test(ctx)
}

// Open gives the issuer that a stored row describes.
func (s *Issuers) Open(ctx context.Context, row leafward.Issuer) (issuer.Issuer, error) {
	built, err := s.plugin(row.Type)
	if err != nil {
		return nil, err
	}
	whole, err := s.whole(&row)
	if err != nil {
		return nil, err
	}
	return built.Open(ctx, row.ID, whole)
}

// plugin finds the type among those that are built in.
func (s *Issuers) plugin(kind string) (issuer.Plugin, error) {
	var names []string
	for _, p := range s.plugins {
		if p.Type == kind {
			return p, nil
		}
		names = append(names, p.Type)
	}
	return issuer.Plugin{}, leafward.CheckType("issuer", kind, leafward.IssuerTypes(), names)
}

// reconfigure lays a change over the configuration of a row, unless the plugin refuses it.
func (s *Issuers) reconfigure(i *leafward.Issuer, change json.RawMessage) error {
	built, err := s.plugin(i.Type)
	if err != nil {
		return err
	}
	old, err := s.whole(i)
	if err != nil {
		return err
	}
	base := old
	if string(change) == "null" {
		base = nil
	}
	changed, err := plugin.Merge(base, change)
	if err != nil {
		return inConfig(err, nil)
	}
	if bytes.Equal(old, changed) {
		return nil
	}
	if err := built.Parse(changed); err != nil {
		return inConfig(err, nil)
	}
	if built.Change != nil {
		if err := built.Change(old, changed); err != nil {
			return inConfig(err, nil)
		}
	}
	return s.seal(i, built, changed)
}

// sealedIssuer is where the secrets of an issuer lie.
func sealedIssuer(id string) keys.Context {
	return keys.Context{Table: "issuers", Column: "sealed", Row: id}
}

// seal parts a configuration into what the row shows and what it hides.
func (s *Issuers) seal(i *leafward.Issuer, built issuer.Plugin, whole json.RawMessage) error {
	open, hidden, set, err := plugin.Split(whole, built.Config)
	if err != nil {
		return err
	}
	i.Config, i.Sealed, i.Secrets = open, nil, append([]string{}, set...)
	if len(set) > 0 {
		i.Sealed = s.master.Seal(sealedIssuer(i.ID), hidden)
	}
	return nil
}

// whole is the configuration of a row with its secrets.
func (s *Issuers) whole(i *leafward.Issuer) (json.RawMessage, error) {
	var hidden []byte
	if len(i.Sealed) > 0 {
		var err error
		if hidden, err = s.master.Open(sealedIssuer(i.ID), i.Sealed); err != nil {
			return nil, err
		}
	}
	return plugin.Merge(i.Config, hidden)
}

func checkIssuer(tx *store.Tx, i *leafward.Issuer) error { return tx.CheckTeam("issuer", i.ID, i.Team) }

// inConfig names the settings of a plugin by where a client wrote them. With a plugin, only its settings are renamed.
func inConfig(err error, built *issuer.Plugin) error {
	e, ok := errors.AsType[*leafward.Error](err)
	if !ok || len(e.Fields) == 0 {
		return err
	}
	var settings []plugin.Field
	if built != nil {
		if settings, err = plugin.Fields(built.Config); err != nil {
			return err
		}
	}
	named := *e
	named.Fields = slices.Clone(e.Fields)
	for i, f := range named.Fields {
		known := slices.ContainsFunc(settings, func(s plugin.Field) bool { return s.Name == f.Field })
		if f.Field != "config" && (built == nil || known) {
			named.Fields[i].Field = "config." + f.Field
		}
	}
	return &named
}
