// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/index"
)

// current is the index as people read it: what the log held when they asked is in the answer. The index
// follows the log a little later, and who has just done something looks for it. One that falls behind for
// longer than indexPatience answers with what it has.
type current struct {
	*index.Index
	s *Sallyport
}

const indexPatience = 2 * time.Second

// await waits for a first page only: the others go on from it.
func (x current) await(ctx context.Context, cursor string) {
	if cursor != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, indexPatience)
	defer cancel()
	_ = x.s.indexed(ctx)
}

// Sessions is index.Index.Sessions of all that the log holds, and so on for the others.
func (x current) Sessions(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Session], error) {
	x.await(ctx, cursor)
	return x.Index.Sessions(ctx, f, limit, cursor)
}

func (x current) Session(ctx context.Context, id string) (index.Session, error) {
	x.await(ctx, "")
	return x.Index.Session(ctx, id)
}

func (x current) Steps(ctx context.Context, session string, limit int, cursor string) (index.Page[index.Step], error) {
	x.await(ctx, cursor)
	return x.Index.Steps(ctx, session, limit, cursor)
}

func (x current) Records(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	x.await(ctx, cursor)
	return x.Index.Records(ctx, f, limit, cursor)
}

func (x current) Search(ctx context.Context, text string, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	x.await(ctx, cursor)
	return x.Index.Search(ctx, text, f, limit, cursor)
}

func (x current) Alerts(ctx context.Context, f index.Filter, limit int, cursor string) (index.Page[index.Step], error) {
	x.await(ctx, cursor)
	return x.Index.Alerts(ctx, f, limit, cursor)
}
