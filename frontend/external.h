// Files with external tensor data: found in the model's folder only, mapped once each.
//
// `location` is a relative path without "..". It must name a regular file inside the model's folder. Symbolic links on
// the way are followed if they end inside the model's folder, or inside the folder of the file that the model's own
// path is a link to (in a Hugging Face cache the model and its data are links into one folder of blobs); others are
// refused. A file with several hard links is refused, too: its other names may lie anywhere, and which of them it was
// meant to have nobody can tell. Where a deduplicating store made them, a copy of the file is needed.
#ifndef TEGULA_FRONTEND_EXTERNAL_H
#define TEGULA_FRONTEND_EXTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "frontend/map.h"
#include "ir/arena.h"
#include "ir/bytes.h"

struct external;

// `model` is the model's path, or NULL; `folder` where to look, or NULL if no external data is allowed.
struct external *external_create(struct arena *arena, uint64_t secret, const char *model, const char *folder);
void external_destroy(struct external *e); // unmaps

// Maps the file `location`. NULL on success; else what is wrong with it ("is an absolute path"), which lives in the
// arena.
const char *external_map(struct external *e, const char *location, const uint8_t **data, uint64_t *size);

// The files that were mapped so far, by each of the places that led to them. Stores them in the arena and returns how
// many.
int external_files(const struct external *e, struct arena *arena, const struct named_bytes **out);

#endif
