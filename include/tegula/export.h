// Marks what the shared libraries export.
#ifndef TEGULA_EXPORT_H
#define TEGULA_EXPORT_H

#if defined(__GNUC__)
#define TG_API __attribute__((visibility("default")))
#else
#define TG_API
#endif

#endif
