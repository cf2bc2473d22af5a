package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/seed-bb4b4d74/dispatch"
)

// Fetch returns a producer that asks the server at base for the price of an item. A
// server that does not have the item (404) declines. Every other status but 200 is an error.
func Fetch(client *http.Client, base string) dispatch.Producer[string, float64] {
	return func(ctx context.Context, item string) (float64, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"?item="+url.QueryEscape(item), nil)
		if err != nil {
			return 0, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			var offer struct{ Price float64 }
			err := json.NewDecoder(resp.Body).Decode(&offer) // decode here, because the body is closed when ctx ends
			return offer.Price, err
		case http.StatusNotFound:
			return 0, dispatch.ErrDecline
		}
		return 0, errors.New(resp.Status)
	}
}
