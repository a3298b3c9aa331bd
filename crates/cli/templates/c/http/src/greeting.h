#pragma once

/// The text for a path, for the caller to free; NULL if there is none.
char *greeting(const char *path);
