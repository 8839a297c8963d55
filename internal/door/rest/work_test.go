package rest_test

import (
	"context"
	"slices"
	"testing"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/internal/deploy"
	"github.com/leafward/leafward/internal/door/rest"
	"github.com/leafward/leafward/internal/fleet"
	"github.com/leafward/leafward/internal/hook"
	"github.com/leafward/leafward/internal/job"
	"github.com/leafward/leafward/internal/keys"
	"github.com/leafward/leafward/internal/lifecycle"
	"github.com/leafward/leafward/internal/outbound"
	"github.com/leafward/leafward/internal/target"
	"github.com/leafward/leafward/internal/target/nginx"
)

// work gives the door its certificates, deployments and agents with one engine that works until the test ends.
func work(t *testing.T, deps *rest.Deps, master *keys.Master) {
	t.Helper()
	orders := lifecycle.NewOrders(deps.DB, master, deps.Issuers.Open, 0)
	targets := []target.Plugin{nginx.Plugin()}
	prover := deploy.New(deps.DB, targets, outbound.New(outbound.Config{}).DialContext)
	engine, err := job.New(job.Config{
		DB: deps.DB, Log: deps.Log, Points: hook.NewPoints(), Worker: "w-1", Kinds: slices.Concat(orders.Kinds(), prover.Kinds(), fleet.Kinds()), Workers: 4,
	})
	check(t, err)
	deps.Certificates, deps.Deploy = lifecycle.New(engine, orders, deps.Log), deploy.NewService(deps.DB, engine)
	deps.Fleet = fleet.New(deps.DB, engine, master, targets, deps.Log)
	run, stop := context.WithCancel(leafward.WithActor(t.Context(), leafward.System("test")))
	done := make(chan error, 1)
	go func() { done <- engine.Run(run) }()
	t.Cleanup(func() { stop(); check(t, <-done) })
}
