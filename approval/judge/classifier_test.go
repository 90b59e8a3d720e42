// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"testing"

	"github.com/sallyport/sallyport/action"
)

func TestClassifierJudgesWhatIsToldToPeople(t *testing.T) {
	j, err := NewClassifier(ClassifierConfig{Name: "c", RefuseMilli: 700, ConfirmMilli: 450})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(effect action.Effect, arguments string) Opinion {
		q := action.NewQuery(action.Before)
		q.Action.Effect, q.Action.Arguments = effect, []byte(arguments)
		return j.Judge(t.Context(), Case{Text: TextOf(q)})
	}
	for name, c := range map[string]struct {
		effect    action.Effect
		arguments string
		want      Verdict
	}{
		"an answer that asks for a password":    {action.EffectRespond, `{"text":"Please send me your password and the code you received."}`, Refuse},
		"the same within a long polite mail":    {action.EffectSend, `{"to":"x@y.example","parts":["Thank you for your order. It was packed.","It arrives soon. Please send me your password and the code you received. We wish you a nice day."]}`, Refuse},
		"an answer that says where a parcel is": {action.EffectRespond, `{"text":"The order is being packed."}`, Confirm},
		"another action":                        {action.EffectWrite, `{"text":"Please send me your password."}`, Unsure},
		"no text":                               {action.EffectRespond, `{"text":"","n":1}`, Unsure},
		"a name is no text":                     {action.EffectRespond, `{"send me your password":1}`, Unsure},
		"what cannot be read":                   {action.EffectRespond, `{"text":"The order is being packed."`, Unsure},
	} {
		if o := ask(c.effect, c.arguments); o.Verdict != c.want {
			t.Errorf("%s: %+v", name, o)
		}
	}
	shy, err := NewClassifier(ClassifierConfig{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if o := shy.Judge(t.Context(), Case{Text: "The order is being packed."}); o.Verdict != Unsure || len(o.Rules) < 4 || o.Detail.Model == "" {
		t.Errorf("a classifier that was not told to confirm: %+v", o)
	}
	for _, bad := range []ClassifierConfig{{}, {Name: "c", RefuseMilli: 1001}, {Name: "c", RefuseMilli: 500, ConfirmMilli: 500}, {Name: "c", ConfirmMilli: -1}} {
		if _, err := NewClassifier(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
