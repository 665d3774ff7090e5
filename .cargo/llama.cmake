# Read by CMake before llama.cpp's own project() call. modeld has no use for the
# parts of llama.cpp that start processes or open TLS connections, so they stay out.
set(LLAMA_SUBPROCESS OFF CACHE BOOL "" FORCE)
set(LLAMA_OPENSSL OFF CACHE BOOL "" FORCE)
