// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package budget

import (
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// A forecast is what the decisions come to once the demand has settled.
func TestForecast(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	held := 0
	for range 500 {
		fleet := 1 + random.IntN(300)
		numbers := 1 + random.IntN(fleet)
		b := v1alpha1.RemovalBudget{}
		if random.IntN(3) > 0 {
			most := intstr.FromInt(random.IntN(100))
			if random.IntN(2) == 0 {
				most = intstr.FromString([]string{"0%", "5%", "25%", "60%", "100%"}[random.IntN(5)])
			}
			b = spec(most, int32(random.IntN(30)), 0)
		}
		s := newScene(t, fleet, b)
		s.ask(0, numbers)
		s.decide()
		d := s.after(quiet)
		limit, wantHeld := Forecast([]v1alpha1.RemovalBudget{b}, fleet, numbers, s.now)
		if limit < numbers && limit != int(d.State.Limit) || wantHeld != int(d.State.Held) || d.Waiting != 0 {
			t.Fatalf("of %d numbers %d lose add-ons under %+v: the forecast is limit %d, held %d; the decision %+v", fleet, numbers, b, limit, wantHeld, d.State)
		}
		if wantHeld > 0 {
			held++
		}
	}
	if held < 50 {
		t.Errorf("only %d of the cases were held", held)
	}
}
