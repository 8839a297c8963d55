package app

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/audit"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/store"
)

// checkpointKey is the setting that holds the key of the checkpoints, sealed and in base64.
const checkpointKey = "checkpoint_key"

func checkpointPlace() keys.Context {
	return keys.Context{Table: "settings", Column: "value", Row: checkpointKey}
}

// openCheckpointKey reads the key that signs checkpoints, or makes it. It is none of the authorities' keys.
func (a *App) openCheckpointKey(ctx context.Context) error {
	var sealed string
	err := a.db.View(ctx, func(v *store.View) (err error) {
		sealed, err = v.Setting(checkpointKey)
		return err
	})
	if err != nil {
		return err
	}
	if sealed != "" {
		raw, err := base64.StdEncoding.DecodeString(sealed)
		if err != nil {
			return fmt.Errorf("the key of the checkpoints: %w", err)
		}
		a.checkpointKey, err = a.master.Open(checkpointPlace(), raw)
		return err
	}
	private, public, err := audit.NewCheckpointKey()
	if err != nil {
		return err
	}
	a.checkpointKey = leafward.Secret(private)
	sealed = base64.StdEncoding.EncodeToString(a.master.Seal(checkpointPlace(), []byte(private)))
	return a.db.Write(ctx, func(tx *store.Tx) error {
		tx.SetSetting(checkpointKey, sealed)
		tx.SetSetting(store.CheckpointPublicKey, public)
		return nil
	})
}

// checkpoint signs what came to the log.
func (a *App) checkpoint(ctx context.Context) error {
	_, err := a.db.WriteCheckpoints(ctx, func(f *audit.Frontier) (string, error) {
		return audit.SignCheckpoint(f, string(a.checkpointKey.Reveal()))
	})
	return err
}
