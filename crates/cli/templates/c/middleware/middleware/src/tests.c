// The functions that `wharf test` calls.

#include "app.h"
#include "rule.h"

/// A test fails with the error that it returns.
static bool expect(bool holds, const char *what, app_string_t *error) {
    if (!holds) {
        app_string_dup(error, what);
    }
    return holds;
}

bool exports_app_test_public_path(app_string_t *error) {
    return expect(passes("/"), "/ is not passed on", error);
}

bool exports_app_test_private_path(app_string_t *error) {
    return expect(!passes("/private/keys"), "/private/keys is passed on", error);
}
