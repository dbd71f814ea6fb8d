# "./html" + 路径：这个前缀挡得住什么？
# "./html" + path: what does the prefix keep out?
import os
import tempfile

with tempfile.TemporaryDirectory() as home:
    os.chdir(home)
    os.mkdir("html")
    with open("secret.txt", "w") as file:
        file.write("the password")
    with open("./html" + "/../secret.txt") as file:
        print(file.read())
#> the password
