// SPDX-License-Identifier: Apache-2.0

package index

const (
	application = 0x53504958 // "SPIX"
	format      = 5
)

// schema makes an empty view. head.erased is the length of the log when the view was last empty: erasures
// before it were in effect when parts were opened, one at or after it makes what was opened stale. Lists (rules, codes) are joined by line breaks, which no cleaned text holds.
// Other tables hold pseudonyms where the log does; names puts the name to each that could be opened.
// The word table keeps no content of its own: a hit is read from records.
const schema = `
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), next INTEGER NOT NULL, erased INTEGER NOT NULL) STRICT;
INSERT INTO head VALUES (1, 0, 0);
CREATE TABLE records (
	idx INTEGER PRIMARY KEY, leaf TEXT NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT NULL,
	action TEXT NOT NULL, round INTEGER NOT NULL, session TEXT NOT NULL, agent TEXT NOT NULL, user TEXT NOT NULL,
	actor TEXT NOT NULL, door TEXT NOT NULL, server TEXT NOT NULL, tool TEXT NOT NULL, effect TEXT NOT NULL,
	phase TEXT NOT NULL, verdict TEXT NOT NULL, enforced INTEGER NOT NULL, status TEXT NOT NULL,
	rules TEXT NOT NULL, codes TEXT NOT NULL, bundle TEXT NOT NULL, sequence INTEGER NOT NULL,
	approval TEXT NOT NULL, channel TEXT NOT NULL, grade TEXT NOT NULL, separation TEXT NOT NULL,
	observed TEXT NOT NULL, durability TEXT NOT NULL, assurance INTEGER NOT NULL, model INTEGER NOT NULL, subject TEXT NOT NULL, count INTEGER NOT NULL,
	reason TEXT NOT NULL, hint TEXT NOT NULL) STRICT;
CREATE INDEX records_action ON records (action, idx) WHERE action <> '';
CREATE INDEX records_session ON records (session, idx) WHERE session <> '';
CREATE INDEX records_kind ON records (kind, idx);
CREATE TABLE names (kind TEXT NOT NULL, pseudonym TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, pseudonym)) STRICT;
CREATE INDEX names_name ON names (kind, name);
CREATE TABLE sessions (
	id TEXT PRIMARY KEY, agent TEXT NOT NULL, user TEXT NOT NULL, door TEXT NOT NULL,
	first_idx INTEGER NOT NULL, last_idx INTEGER NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
	actions INTEGER NOT NULL, allowed INTEGER NOT NULL, asked INTEGER NOT NULL, denied INTEGER NOT NULL,
	quarantined INTEGER NOT NULL, unknown INTEGER NOT NULL, unenforced INTEGER NOT NULL) STRICT;
CREATE INDEX sessions_last ON sessions (last_idx);
CREATE INDEX sessions_agent ON sessions (agent, last_idx);
CREATE TABLE agents (
	id TEXT PRIMARY KEY, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, last_idx INTEGER NOT NULL,
	sessions INTEGER NOT NULL, actions INTEGER NOT NULL, allowed INTEGER NOT NULL, asked INTEGER NOT NULL,
	denied INTEGER NOT NULL, alerts INTEGER NOT NULL) STRICT;
CREATE TABLE tally (
	day INTEGER NOT NULL, phase TEXT NOT NULL, verdict TEXT NOT NULL, effect TEXT NOT NULL, enforced INTEGER NOT NULL,
	n INTEGER NOT NULL, PRIMARY KEY (day, phase, verdict, effect, enforced)) STRICT;
CREATE TABLE rule_tally (
	day INTEGER NOT NULL, rule TEXT NOT NULL, what TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (day, rule, what)) STRICT, WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (kind, tool, rules, verdict, codes, session, reason, content = '');
`

// emptying makes any view an empty one.
var emptying = []string{
	`DELETE FROM records`, `DELETE FROM sessions`, `DELETE FROM agents`, `DELETE FROM names`,
	`DELETE FROM tally`, `DELETE FROM rule_tally`, `INSERT INTO words (words) VALUES ('delete-all')`,
}

// columns of records in the order of Step.scan.
const columns = `idx, leaf, time_ms, kind, action, round, session, agent, user, actor, door, server, tool, effect,
	phase, verdict, enforced, status, rules, codes, bundle, sequence, approval, channel, grade, separation, observed,
	durability, assurance, model, subject, count, reason, hint`
