# 一边走一边删：谁被跳过了？
# Removing while walking: who is skipped?
clients = ["a", "b (has left)", "c", "d"]
served = []
for client in clients:
    if "left" in client:
        clients.remove(client)
    else:
        served.append(client)
print("served in this turn:", served)
#> served in this turn: ['a', 'd']
