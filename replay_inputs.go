// SPDX-License-Identifier: Apache-2.0

package sallyport

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/gateway"
	"github.com/sallyport/sallyport/index"
)

// ReplayInput is a recorded decision with what it rested on, for a replay by another program.
type ReplayInput struct {
	Step     index.Step      `json:"step"`     // its Replay says why there is no query
	Recorded action.Decision `json:"recorded"` // the explanation that was sealed with it
	Query    []byte          `json:"query"`    // canonical bytes; empty if they cannot be opened
}

// replayInputs hands out the inputs of a session's decisions, one a line. That they were opened, by whom, is on record first.
func (s *Sallyport) replayInputs(w http.ResponseWriter, r *http.Request, c *gateway.Caller) error {
	if err := s.indexed(r.Context()); err != nil {
		return err
	}
	id, begun := r.PathValue("session"), false
	err := s.Index.Inputs(reading(r.Context(), c, "replay/"+id), id, func(step *index.Step, q *action.Query, was *index.Replayed) error {
		in := ReplayInput{Step: *step, Recorded: was.Recorded}
		var err error
		if q == nil {
			in.Step.Replay = was
		} else if in.Query, err = action.Canonical(q); err != nil {
			return err
		}
		line, err := json.Marshal(in)
		if err != nil {
			return err
		}
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
		}
		_, err = w.Write(append(line, '\n'))
		return err
	})
	if errors.Is(err, index.ErrNotFound) && !begun {
		return gateway.Refuse(gateway.CodeNotFound, "there is no session %q", action.Clip(id, 64))
	}
	return err
}
