package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/store"
	"github.com/leafward/leafward/internal/store/storetest"
)

func TestADatabaseThatDoesNotAnswerInTimeIsUnavailable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		storetest.Busy(t, db)
		ctx, cancel := context.WithTimeout(storetest.Admin(t.Context()), 20*time.Millisecond)
		defer cancel()
		if err := db.View(ctx, func(*store.View) error { return nil }); leafward.KindOf(err) != leafward.Later {
			t.Error(err)
		}
	})
}
