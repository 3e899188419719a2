std = 'luajit'
cache = false
color = false
max_line_length = 120
exclude_files = { 'build*', 'runs' }
