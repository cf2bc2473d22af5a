package oteldispatch

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

func TestSetsAreMadeOnceAndNotKeptWithoutEnd(t *testing.T) {
	var s sets
	made := 0
	get := func(topic int) attribute.Set {
		name := strconv.Itoa(topic)
		o := s.get(setKey{topic: name}, func() []attribute.KeyValue {
			made++
			return []attribute.KeyValue{attribute.String("topic", name)}
		})
		return metric.NewAddConfig([]metric.AddOption{o}).Attributes()
	}
	for range 2 {
		for topic := range mostSets + 100 {
			if diff := cmp.Diff(`[{"Key":"topic","Value":{"Type":"STRING","Value":"`+strconv.Itoa(topic)+`"}}]`, encode(t, get(topic))); diff != "" {
				t.Fatalf("attributes (-want +got):\n%s", diff)
			}
		}
	}
	if want := mostSets + 2*100; made != want || len(s.known) != mostSets {
		t.Errorf("%d were made and %d are kept, want %d and %d", made, len(s.known), want, mostSets)
	}
}

func encode(t *testing.T, s attribute.Set) string {
	t.Helper()
	text, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
