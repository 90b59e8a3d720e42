// SPDX-License-Identifier: Apache-2.0

// Package sallyport puts two gates around every action of an AI agent: one before it runs, one before its
// result goes back. It wires the columns into one process and is the Go API for embedding.
package sallyport
