// Package rule says which requests are passed on.
package rule

import "strings"

// Passes says whether a request for a path is passed on.
func Passes(path string) bool {
	return path != "/private" && !strings.HasPrefix(path, "/private/")
}
