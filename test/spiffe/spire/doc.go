// SPDX-License-Identifier: Apache-2.0

// Package spire builds a SPIRE server and agent for the tests beside it, without the client of one certificate authority
// that nobody here needs.
package spire
