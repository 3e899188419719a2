# embed.cmake - puts every Lua file, model, recipe and the FFI header into the binary.
#
# embed_lua(OUT) sets OUT to an assembler file with the bytes of each file (.incbin) and a table of
# (name, start, end) that engine/host/embedded.c reads. Names: 'lua/sppo/init.lua', 'models/llama.lua',
# 'recipes/tiny.lua', 'sppo.h', 'lua/argparse.lua' (Debian's lua-argparse).

function(embed_lua OUT)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}
       ${CMAKE_SOURCE_DIR}/lua/*.lua ${CMAKE_SOURCE_DIR}/models/*.lua
       ${CMAKE_SOURCE_DIR}/recipes/*.lua ${CMAKE_SOURCE_DIR}/models/configs/*.json)
  list(SORT files)
  set(names ${files})
  set(paths ${files})
  list(TRANSFORM paths PREPEND ${CMAKE_SOURCE_DIR}/)
  find_file(ARGPARSE argparse.lua PATHS /usr/share/lua/5.1 /usr/local/share/lua/5.1 REQUIRED)
  list(APPEND names lua/argparse.lua sppo.h)
  list(APPEND paths ${ARGPARSE} ${CMAKE_SOURCE_DIR}/engine/include/sppo.h)

  set(text "    .section .rodata\n")
  set(table "    .section .data.rel.ro, \"aw\"\n    .balign 8\n    .globl sppo__embedded_table\n    .hidden sppo__embedded_table\nsppo__embedded_table:\n")
  set(number 0)
  foreach(name path IN ZIP_LISTS names paths)
    string(APPEND text "name${number}: .asciz \"${name}\"\nstart${number}: .incbin \"${path}\"\nend${number}: .byte 0\n")
    string(APPEND table "    .quad name${number}, start${number}, end${number}\n")
    math(EXPR number "${number} + 1")
  endforeach()
  string(APPEND table "    .quad 0, 0, 0\n")
  set(file ${CMAKE_BINARY_DIR}/embedded.S)
  file(WRITE ${file}.new "${text}${table}    .section .note.GNU-stack, \"\", @progbits\n")
  file(COPY_FILE ${file}.new ${file} ONLY_IF_DIFFERENT)
  set_property(SOURCE ${file} PROPERTY OBJECT_DEPENDS "${paths}")
  set(${OUT} ${file} PARENT_SCOPE)
endfunction()
