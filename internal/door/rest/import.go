package rest

import (
	"context"

	"github.com/leafward/leafward/api"
	"github.com/leafward/leafward/internal/lifecycle"
)

func (s *server) importCertificates(ctx context.Context, in api.Make[api.ImportRequest]) (api.ImportResult, error) {
	done, err := s.Certificates.Import(ctx, lifecycle.Listed{PEM: in.Body.PEM, CSV: in.Body.CSV, FirstLine: in.Body.FirstLine, Record: in.Body.Record()})
	out := api.ImportResult{Total: len(done.Rows), Rows: make([]api.ImportRow, len(done.Rows)), IgnoredColumns: append([]string{}, done.Ignored...)}
	for i, row := range done.Rows {
		out.Rows[i] = api.ImportRow{
			Line: row.Line, Outcome: string(row.Outcome), CertificateID: row.Certificate, VersionID: row.Version, Name: row.Name,
			FingerprintSHA256: row.SHA256, Archived: row.Archived, Problems: row.Problems,
		}
		switch row.Outcome {
		case lifecycle.ImportDone:
			out.Imported++
		case lifecycle.ImportKnown:
			out.Known++
			if row.Archived {
				out.Archived++
			}
		default:
			out.Refused++
		}
	}
	return out, err
}
