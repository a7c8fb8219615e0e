"""A week of a shop and a day of incidents in compressed time: who is paged after how long, and is the culprit named?"""
