# splitlines() 认得的换行，比 HTTP 多。
# splitlines() knows more line ends than HTTP does.
header = "X-Name: a\x0bb\x1cc\x85d\u2028e\r\n"
print("HTTP:", len(header.split("\r\n")) - 1, "line; splitlines():", len(header.splitlines()), "lines")
#> HTTP: 1 line; splitlines(): 5 lines
