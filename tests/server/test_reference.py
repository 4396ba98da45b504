"""Each statistic can be asked for by name; one that does not exist is answered with where the list is."""

from __future__ import annotations


def test_the_whole_reference(client):
    answer = client.get("/api/v1/reference")
    assert answer.status_code == 200
    entropy = answer.json()["statistics"]["policy_entropy"]
    assert entropy["unit"] == "nat"
    assert entropy["cost"] in answer.json()["costs"]


def test_one_statistic(client):
    told = client.get("/api/v1/reference/effective_rank").json()
    assert (told["name"], told["family"]) == ("effective_rank", "representation")
    assert told["formula"]


def test_a_statistic_that_does_not_exist_says_where_the_list_is(client):
    answer = client.get("/api/v1/reference/effective_rang")
    assert answer.status_code == 404
    assert answer.json()["error"] == "UnknownStatistic"
    assert "GET /api/v1/reference" in answer.json()["detail"]


def test_the_page_is_served_at_the_address_of_each_statistic(client):
    for address in ("/reference", "/reference/policy_entropy"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "<title>Foreshock</title>" in answer.text
