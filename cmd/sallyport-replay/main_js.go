// SPDX-License-Identifier: Apache-2.0

// Command sallyport-replay takes recorded decisions again in a browser or in Node: built for js/wasm, it is what
// docs/verify loads where it lies beside the page. It sets globalThis.sallyportReplay to an object with two functions,
// add(Uint8Array) for a policy bundle and decide(verdict, input, explanation) for one decision, both of which return
// the text of a JSON document.
package main

import (
	"context"
	"syscall/js"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/action"
	"github.com/sallyport/sallyport/auditor/replay"
)

// maxBytes bounds what JavaScript hands over at once.
const maxBytes = 64 << 20

func main() {
	var r replay.Replay
	js.Global().Set("sallyportReplay", map[string]any{
		"add": function(1, func(args []js.Value) any {
			digest, err := r.Add(bytes(args[0]))
			if err != nil {
				return map[string]string{"error": action.Inert(err.Error(), 500)}
			}
			return map[string]string{"digest": digest}
		}),
		"decide": function(3, func(args []js.Value) any {
			return r.Decide(context.Background(), action.Verdict(args[0].String()), bytes(args[1]), bytes(args[2]))
		}),
	})
	select {} // the functions are called for as long as the page lives
}

// function wraps do for JavaScript. It answers with an error rather than ending the program.
func function(args int, do func(args []js.Value) any) js.Func {
	return js.FuncOf(func(_ js.Value, given []js.Value) any {
		if len(given) != args {
			return `{"error":"a wrong number of arguments"}`
		}
		b, err := json.Marshal(do(given))
		if err != nil {
			return `{"error":"the answer cannot be written"}`
		}
		return string(b)
	})
}

// bytes copies a Uint8Array; of anything else, or of too much, nothing.
func bytes(v js.Value) []byte {
	if !v.InstanceOf(js.Global().Get("Uint8Array")) || v.Length() > maxBytes {
		return nil
	}
	b := make([]byte, v.Length())
	js.CopyBytesToGo(b, v)
	return b
}
