// What the job reports.

#define _GNU_SOURCE
#include "report.h"

#include <stdio.h>

char *report(time_t now) {
    char *text = NULL;
    return asprintf(&text, "%d seconds past the hour", (int)(now % 3600)) >= 0 ? text : NULL;
}
