// The functions that `wharf test` calls.

#include "app.h"
#include "greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// A test fails with the error that it returns: this sets it, unless both are equal.
static bool expect(char *actual, const char *expected, app_string_t *error) {
    bool equal = actual && expected ? strcmp(actual, expected) == 0 : (const char *)actual == expected;
    if (!equal) {
        char text[256];
        snprintf(text, sizeof text, "expected %s, got %s", expected ? expected : "nothing", actual ? actual : "nothing");
        app_string_dup(error, text);
    }
    free(actual);
    return equal;
}

bool exports_app_test_greets(app_string_t *error) {
    return expect(greeting("Ada"), "Hello, Ada!", error);
}

bool exports_app_test_greets_nobody(app_string_t *error) {
    return expect(greeting(""), "Hello!", error);
}
