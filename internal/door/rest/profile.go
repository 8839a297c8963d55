package rest

import (
	"context"

	"github.com/leafward/leafward"
	"github.com/leafward/leafward/api"
)

func (s *server) profiles(r *router) {
	bind(r, api.ListProfiles, func(ctx context.Context, in api.ListProfilesInput) (api.Page[api.Profile], error) {
		page, err := s.Settings.Profiles(ctx, in.Query(map[string]string{"name": in.Name, "team_id": in.TeamID}))
		return api.PageOf(page, api.ProfileOf), err
	})
	bind(r, api.CreateProfile, func(ctx context.Context, in api.Make[api.ProfileWrite]) (api.Profile, error) {
		profile, err := s.Settings.CreateProfile(ctx, writeProfile(in.Body))
		return api.ProfileOf(&profile), err
	})
	bind(r, api.GetProfile, func(ctx context.Context, in api.ByID) (api.Profile, error) {
		profile, err := s.Settings.Profile(ctx, in.ID)
		return api.ProfileOf(&profile), err
	})
	bind(r, api.UpdateProfile, func(ctx context.Context, in api.Update[api.ProfileWrite]) (api.Profile, error) {
		profile, err := s.Settings.UpdateProfile(ctx, in.ID, in.IfMatch, writeProfile(in.Body))
		return api.ProfileOf(&profile), err
	})
	bind(r, api.DeleteProfile, func(ctx context.Context, in api.ByID) (api.None, error) {
		return api.None{}, s.Settings.DeleteProfile(ctx, in.ID, in.IfMatch)
	})
}

// writeProfile applies what a client sent to a new or a stored profile.
func writeProfile(in api.ProfileWrite) func(*leafward.Profile) error {
	return func(t *leafward.Profile) error {
		var p leafward.Problems
		in.Check(&p, &t.Row, t.Number)
		in.TeamID.Apply(&t.Team)
		in.Name.Apply(&t.Name)
		in.Description.Apply(&t.Description)
		if in.AllowedKeyAlgorithms.Set || t.Keys == nil {
			t.Keys = []leafward.KeyRule{}
			for _, rule := range in.AllowedKeyAlgorithms.Value {
				t.Keys = append(t.Keys, leafward.KeyRule(rule))
			}
		}
		in.MaxTTLSeconds.Apply(&t.MaxTTL)
		in.DefaultTTLSeconds.Apply(&t.DefaultTTL)
		in.BackdateSeconds.Apply(&t.Backdate)
		applyList(in.AllowedEKUs, &t.EKUs)
		applyList(in.AllowedSANTypes, &t.NameTypes)
		applyList(in.RequiredSANPatterns, &t.RequiredSANs)
		in.SPIFFEURIPattern.Apply(&t.SPIFFE)
		in.AllowShortLived.Apply(&t.AllowShort)
		in.CutToIssuer.Apply(&t.CutToIssuer)
		in.Enabled.Or(true, &t.Enabled)
		return p.Err()
	}
}

// applyList is Apply for a list, which is empty rather than nil.
func applyList[T any](in api.Opt[[]T], to *[]T) {
	in.Apply(to)
	if *to == nil {
		*to = []T{}
	}
}
