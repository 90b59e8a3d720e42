// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"
	"strings"
)

// signal is one thing in a text that instructions to a model have and data rarely has.
type signal uint8

// The signals. None proves anything: a sentence about injection has them too.
const (
	sigNone      signal = iota
	sigDrop             // verbs of setting something aside
	sigRules            // what is set aside: instructions, rules
	sigPrior            // what came before
	sigModel            // words that address a model
	sigConceal          // demands to conceal something
	sigUser             // the user, spoken of
	sigOrder            // precedence: do this first
	sigCall             // demands to call a tool or run something
	sigRole             // words that delimit a conversation
	sigToken            // tokens that delimit one for a model
	sigMove             // verbs that move data
	sigPrivate          // data that is worth stealing
	sigTarget           // an address or URL
	sigImage            // an image whose URL carries data
	sigHidden           // text in characters that nobody sees
	sigComment          // a comment or hidden style that holds text
	sigSensitive        // files that hold credentials
	sigOther            // other tools, spoken of
	sigMust             // demands that leave no choice
	signals
)

// phrases are literals in lower case and the signal that each gives. They are structure words of English
// instructions, not phrases of any one attack.
var phrases = map[signal][]string{
	sigDrop: {"ignore", "disregard", "forget", "override", "bypass", "neglect", "discard", "do not follow", "don't follow",
		"stop following", "do not obey", "pay no attention", "supersede", "void"},
	sigRules: {"instruction", "guideline", "system prompt", "your rules", "directive", "direction", "the rules", "your programming",
		"your training", "restrictions", "safety", "what you were told", "previous prompt", "prior prompt", "all prompts", "previous command"},
	sigPrior: {"previous", "prior ", "above", "earlier", "preceding", "everything before"},
	sigModel: {"ai assistant", "ai agent", "ai model", "language model", "you are now", "to you, ", "as an ai", "dear assistant",
		"dear ai", "note to the assistant", "note to ai", "attention ai", "llm", "chatgpt", "gpt-", "the assistant must", "the agent must",
		"assistant should", "agents must", "act as", "pretend to be", "if you are an ai", "your new task", "your real task", "your task is now"},
	sigConceal: {"do not tell", "don't tell", "do not mention", "don't mention", "do not inform", "do not reveal", "don't reveal",
		"without telling", "without informing", "without notifying", "without asking", "never mention", "never tell", "do not disclose",
		"do not notify", "keep this secret", "do not explain", "hide this", "silently"},
	sigUser: {"the user", "your user", "the human", "user's"},
	sigOrder: {"before you", "before doing", "before using", "before calling", "before answering", "before proceeding", "before any other",
		"first do", "you must first", "must always", "prior to using", "do the following", "following steps", "follow these", "as a first step",
		"mandatory", "you are required to", "instead of", "instead, ", "rather than", "important:", "urgent", "immediately"},
	sigCall: {"use the tool", "call the tool", "use the function", "call the function", "invoke the", "using the tool", "function call",
		"with the following arguments", "with these arguments", "with the following parameters", "run the following", "execute the following",
		"run this command", "execute this", "tool call", "call this tool", "you should use the", "| sh", "| bash", "curl http", "wget http"},
	sigToken: {"<|im_start", "<|im_end", "<|system", "<|user", "<|assistant", "<|endoftext", "<|eot_id", "<|start_header", "[inst]",
		"[/inst]", "<<sys>>", "<start_of_turn"},
	sigRole: {"<system>", "</system>", "<system_", "<instructions>", "</instructions>", "<important>", "</important>", "### system", "### instruction",
		"\nsystem:", "\nassistant:", "\nhuman:", "[system]", "(system)", "system message", "<tool_result", "</tool_result", "<function_result",
		"</function_result", "end of document", "new instructions", "admin mode", "developer mode", "<admin", "[admin"},
	sigMove: {"send", "forward", "upload", "post ", "e-mail", "email", "transmit", "exfiltrate", "leak", "append", "transfer", "include",
		"encode", "print", "output"},
	sigPrivate: {"password", "api key", "api_key", "credential", "secret", "conversation", "chat history", "system prompt", "private key",
		"ssh key", "access token", "environment variable", "all messages", "contact list", "session token", "its content", "contents of"},
	sigTarget:  {"https://", "http://", "@"},
	sigImage:   {"![", "<img"},
	sigComment: {"<!--", "display:none", "display: none", "visibility:hidden", "visibility: hidden", "font-size:0", "font-size: 0", "opacity:0", "color:white", "color: white", "color:#fff"},
	sigOther: {"other tool", "any tool", "every tool", "all tools", "another tool", "of the tool", "instead of the", "tools from", "other server", "another server",
		"whenever you use", "when you use", "when using the", "whenever the", "before any call", "after any call", "every call", "calls to", "behavior of", "behaviour of"},
	sigMust:      {"must", "always", "never", "you have to", "is required", "mandatory", "instead", "bcc", "change the recipient", "regardless", "supersede", "override", "takes precedence"},
	sigSensitive: {"id_rsa", ".ssh/", ".env", "mcp.json", ".aws/", "/etc/passwd", ".npmrc", ".netrc", "credentials.json"},
}

// place is a signal at a byte of the text.
type place struct {
	signal signal
	at     int
}

// reach is how far apart signals may stand that belong to one instruction.
const reach = 1200

// pattern is a reason to suspect: signals that stand near each other.
type pattern struct {
	reason string
	score  int
	first  signal
	second signal // sigNone: first alone
	within int    // bytes from first to second; before it as well if both
	both   bool
	// In the description of a tool only: elsewhere people do speak of other tools.
	description bool
}

var patterns = []pattern{
	{reason: "sets instructions aside", score: 600, first: sigDrop, second: sigRules, within: 48},
	{reason: "sets aside what came before", score: 300, first: sigDrop, second: sigPrior, within: 32},
	{reason: "conversation delimiters inside data", score: 350, first: sigRole},
	{reason: "a model's control tokens inside data", score: 600, first: sigToken},
	{reason: "addresses a model", score: 350, first: sigModel},
	{reason: "asks to conceal something from the user", score: 600, first: sigConceal, second: sigUser, within: 60},
	{reason: "asks to conceal something", score: 250, first: sigConceal},
	{reason: "claims precedence over the task", score: 200, first: sigOrder},
	{reason: "asks for a tool call", score: 350, first: sigCall},
	{reason: "asks to move private data", score: 300, first: sigMove, second: sigPrivate, within: 80, both: true},
	{reason: "names files that hold credentials", score: 250, first: sigSensitive},
	{reason: "text in invisible characters", score: 800, first: sigHidden},
	{reason: "image whose URL carries data", score: 400, first: sigImage},
	{reason: "hidden markup", score: 200, first: sigComment},
	{reason: "bends the use of other tools", score: 500, first: sigOther, second: sigMust, within: 48, both: true, description: true},
}

// suspicion is what the signals of one text amount to.
type suspicion struct {
	score   int
	reasons []reason
}

type reason struct {
	text  string
	at    int
	score int
}

// suspect weighs places, which are in order. Reasons within reach of each other count together, as if
// independent; a text that only says "important" or "send" scores low.
func suspect(text string, places []place, description bool) suspicion {
	var found []reason
	for i := range patterns {
		p := &patterns[i]
		if p.description && !description {
			continue
		}
		last := -reach
		for j, x := range places {
			if x.signal != p.first || x.at-last < reach/4 || !p.holds(text, places, j) {
				continue
			}
			found = append(found, reason{p.reason, x.at, p.score})
			if last = x.at; len(found) >= 64 {
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b reason) int { return a.at - b.at })
	var best suspicion
	for i := range found {
		rest := 1000.0
		var in []reason
		for _, r := range found[i:] {
			if r.at-found[i].at > reach {
				break
			}
			if !slices.ContainsFunc(in, func(o reason) bool { return o.text == r.text }) {
				rest = rest * float64(1000-r.score) / 1000
				in = append(in, r)
			}
		}
		if s := 1000 - int(rest); s > best.score {
			best = suspicion{s, in}
		}
	}
	return best
}

// holds reports whether the pattern is complete around places[j].
func (p *pattern) holds(text string, places []place, j int) bool {
	at := places[j].at
	if p.first == sigImage {
		return carriesData(text[at:min(len(text), at+300)])
	}
	if p.second == sigNone {
		return true
	}
	for k := j + 1; k < len(places) && places[k].at-at <= p.within; k++ {
		if places[k].signal == p.second {
			return true
		}
	}
	if p.both {
		for k := j - 1; k >= 0 && at-places[k].at <= p.within; k-- {
			if places[k].signal == p.second {
				return true
			}
		}
	}
	return false
}

// carriesData reports whether an image at the head of s loads from a URL with a query that is long or has
// a slot to be filled.
func carriesData(s string) bool {
	i := strings.Index(s, "://")
	if i < 0 || i > 300 {
		return false
	}
	url := s[i:]
	if j := strings.IndexAny(url, ") \"'\n>"); j >= 0 {
		url = url[:j]
	}
	q := strings.IndexByte(url, '?')
	return q >= 0 && (len(url)-q > 48 || strings.ContainsAny(url[q:], "{}[]<>$")) || strings.ContainsAny(url, "{}")
}
