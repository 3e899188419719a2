std = 'luajit'
cache = false
color = false
max_line_length = 100
exclude_files = { 'build*', 'runs' }
