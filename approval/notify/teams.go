// SPDX-License-Identifier: Apache-2.0

package notify

// The parts of an Adaptive Card that are used. A RichTextBlock renders no markdown, which a TextBlock does.
type (
	teamsRun struct {
		Type   string `json:"type"`
		Text   string `json:"text"`
		Weight string `json:"weight,omitzero"`
	}
	teamsBlock struct {
		Type    string     `json:"type"`
		Inlines []teamsRun `json:"inlines"`
	}
	teamsAction struct {
		Type  string `json:"type"`
		Title string `json:"title"`
		URL   string `json:"url"`
	}
	teamsCard struct {
		Schema  string        `json:"$schema"`
		Type    string        `json:"type"`
		Version string        `json:"version"`
		Body    []teamsBlock  `json:"body"`
		Actions []teamsAction `json:"actions"`
	}
	teamsAttachment struct {
		Type    string    `json:"contentType"`
		Content teamsCard `json:"content"`
	}
	teamsMessage struct {
		Type        string            `json:"type"`
		Attachments []teamsAttachment `json:"attachments"`
	}
)

// teams is a notice in the form that a workflow of Teams posts to a chat.
func teams(n *Notice) teamsMessage {
	card := teamsCard{Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4", Actions: []teamsAction{}}
	for i, line := range n.lines() {
		run := teamsRun{Type: "TextRun", Text: line}
		if i == 0 {
			run.Weight = "Bolder"
		}
		card.Body = append(card.Body, teamsBlock{"RichTextBlock", []teamsRun{run}})
	}
	if n.Look != "" {
		card.Actions = append(card.Actions, teamsAction{"Action.OpenUrl", "Look at it", n.Look}, teamsAction{"Action.OpenUrl", "Deny…", n.Refuse})
	}
	return teamsMessage{"message", []teamsAttachment{{"application/vnd.microsoft.card.adaptive", card}}}
}
