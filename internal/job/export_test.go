package job

import (
	"context"
	"time"
)

// Judge decides what a difference between the clocks means.
func (e *Engine) Judge(ctx context.Context, skew time.Duration) { e.judge(ctx, skew) }
