// Package report has what the job reports.
package report

import (
	"fmt"
	"time"
)

// For gives the line for a time.
func For(now time.Time) string {
	return fmt.Sprintf("%d seconds past the hour", now.Unix()%3600)
}
