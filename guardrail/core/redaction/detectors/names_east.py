"""Detects names of people in Chinese, Japanese, Korean and Arabic sentences: after the word for a
person in a role, and before a form of address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.person_names import JAPANESE_SURNAMES
from guardrail.core.redaction.spans import Hit

__all__ = ["names_east"]

_CHINESE = "王李张張刘劉陈陳杨楊黄黃赵趙吴吳周徐孙孫马馬朱胡郭何林高梁郑鄭罗羅宋谢謝唐韩韓曹许許邓鄧萧蕭冯馮曾程蔡彭潘袁于董余苏蘇叶葉吕呂魏蒋蔣田杜丁沈姜范江傅钟鍾卢盧汪戴崔任陆陸廖姚方金邱夏谭譚韦韋贾賈邹鄒石熊孟秦阎薛侯雷白龙龍段郝孔邵史毛常万顾顧赖賴武康贺賀严嚴尹钱錢施牛洪龚"
_KOREAN = "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채원천방공현함변염여추도석선설마길연위표명기반왕금옥"
_SENTENCES = re.compile(
    rf"(?:客户|客戶|顾客|顧客|患者|病人|乘客|旅客|员工|員工|学生|學生|收件人|联系人|租客|房东|司机|申请人|姓名(?:是|为)?|我叫|我是|名叫)[:\uff1a ]?(?P<zh>[{_CHINESE}][\u3400-\u9fff]{{1,2}})(?=[,\uff0c\u3002;\uff1b\u3001()\s:的在已要说]|先生|女士|\Z)"
    rf"|(?:^|(?<=[\s\u3001\u3002,の]))(?P<ja>(?:{JAPANESE_SURNAMES}) ?[\u3040-\u30ff\u3400-\u9fff]{{1,3}}?)(?= ?(?:様|さま|さん|氏|先生|殿))"
    rf"|(?:고객|환자|승객|직원|학생|예약자|수령인|받는 사람|담당자|신청자|보호자|이름은?|저는)[: ]{{1,2}}(?P<ko>[{_KOREAN}][\uac00-\ud7af]{{1,2}})(?=님|씨|[ ,.]|은 |는 |이 |가 |\Z)"
)
_ARABIC = re.compile(
    "(?:السيد|السيدة|الطالب|الطالبة|المريض|المريضة|العميل|العميلة|الموظف|الموظفة|المسافر|الراكب|المستأجر|المستلم|اسمي|الاسم)[: ]{1,2}"
    "(?P<v>(?!(?:رقم|في|من|على|الى|إلى|هو|هي|قد|لم|لا|غائب|لديه|طلب|يريد|هاتف|التي|الذي)\\b)[\u0621-\u064a]{2,12}"
    "(?: (?!(?:رقم|في|من|على|الى|إلى|هو|هي|قد|لم|لا|غائب|لديه|طلب|يريد|هاتف|التي|الذي|حضر|سافر|وصل|تاريخ|يسكن|ورقم)\\b)[\u0621-\u064a]{2,12}){1,3})"
)


def names_east(text: str) -> Iterator[Hit]:
    """Yield the names that the words around them announce."""
    if text.isascii():
        return
    for match in _SENTENCES.finditer(text):
        yield Hit(*match.span(match.lastgroup or 0), "name", "named")
    if "\u0627" in text:
        for match in _ARABIC.finditer(text):
            yield Hit(*match.span("v"), "name", "named")
