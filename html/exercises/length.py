# Content-Length 数的是字节，len() 数的是字符。
# Content-Length counts octets; len() counts characters.
body = "没有这个文件, 请输入正确的url"
announced = len(body)
sent = len(body.encode("utf-8"))
print("announced", announced, "sent", sent)
print("the client shows:", body.encode("utf-8")[:announced].decode("utf-8", "replace"))
#> announced 17 sent 41
#> the client shows: 没有这个文�
