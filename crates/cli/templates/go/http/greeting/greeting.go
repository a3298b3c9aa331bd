// Package greeting has what the service says.
package greeting

import "strings"

// For gives the text for a path, if there is one.
func For(path string) (string, bool) {
	if path == "/" {
		return "Hello from {{name}}!", true
	}
	if who, found := strings.CutPrefix(path, "/hello/"); found {
		return "Hello, " + who + "!", true
	}
	return "", false
}
