// Which requests are passed on.

#include "rule.h"

#include <string.h>

bool passes(const char *path) {
    const char *private = "/private";
    bool begins = strncmp(path, private, strlen(private)) == 0;
    return !begins || (path[strlen(private)] != 0 && path[strlen(private)] != '/');
}
