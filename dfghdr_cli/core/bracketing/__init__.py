"""Which photographs were shot as one exposure bracket, told from what their files record."""
