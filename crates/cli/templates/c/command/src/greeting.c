// What the program says.

#define _GNU_SOURCE
#include "greeting.h"

#include <stdio.h>

char *greeting(const char *who) {
    char *text = NULL;
    return asprintf(&text, "Hello, %s!", who) >= 0 ? text : NULL;
}
